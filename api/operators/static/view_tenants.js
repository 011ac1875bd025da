// The tenants: a list to search and sort, and the page of one tenant.

import { h, panel, put, table } from "./dom.js";
import { isUnknown } from "./deployment.js";
import { badge, bytes, count, percent, rate, seconds } from "./format.js";
import { STATES } from "./search.js";
import { floodPanel, historyPanel, sourcesPanel } from "./tenant_history.js";
import { t } from "./text.js";
import { clock } from "./time.js";
import { PHONE_LIMIT, onPhone } from "./visit.js";

const EVERY = 5_000, PAGE_EVERY = 30_000;
const ORDERS = ["activity", "lag", "failures", "jobs", "storage", "name"];

export async function tenants(visit) {
  const { query } = visit, order = ORDERS.includes(query.get("order")) ? query.get("order") : "activity";
  const name = query.get("name") ?? "", cursor = query.get("cursor");
  const body = h("div"), asked = new URLSearchParams({ order, ...(name && { name }), ...(cursor && { cursor }), ...(onPhone() && { limit: PHONE_LIMIT }) });
  const search = searchForm(name, order);
  await visit.load(`tenants/?${asked}`, (facts) => {
    if (!body.isConnected) put(visit.main, h("h1", {}, t("tenants.title")), search, choices(order, name), body);
    put(body, panel(null, missing(facts.missing), lead(facts, order, name), list(facts, nothing(order, name)), pages(order, name, cursor, facts)));
  }, cursor ? PAGE_EVERY : EVERY);
}

function href(order, name, cursor) {
  return `#/tenants?${new URLSearchParams({ order, ...(name && { name }), ...(cursor && { cursor }) })}`;
}

function searchForm(name, order) {
  const field = h("input", { id: "by-name", type: "search", value: name, autocomplete: "off", spellcheck: "false" });
  return h("form", { class: "filters of-tenants", role: "search", onsubmit: (event) => {
    event.preventDefault();
    location.hash = href(order, field.value.trim());
  } },
    h("p", {}, h("label", { for: "by-name" }, t("tenants.byName")), field),
    h("p", { class: "go" }, h("button", { type: "submit", class: "primary" }, t("tenants.search")),
      name && h("a", { href: href(order, "") }, t("tenants.clear"))));
}

function choices(order, name) {
  return h("p", { class: "choice" }, ORDERS.map((each) =>
    h("a", { href: href(each, name), "aria-current": each === order && "true" }, t(`tenants.order-${each}`))));
}

function lead({ count: found, listed, known, missing: servers }, order, name) {
  if (servers.length && !known) return null; // nothing is known of them
  if (order === "lag" && found > listed) return h("p", { class: "hint" }, t("tenants.behindAbout", { shown: count(found), known: count(known), listed: count(listed) }));
  if (order === "lag") return found > 0 && h("p", { class: "hint" }, t("tenants.behind", { count: found, shown: count(found), known: count(known) }));
  return h("p", { class: "hint" }, name ? t("tenants.found", { count: found, shown: count(found), known: count(known) }) : t("tenants.known", { count: known, shown: count(known) }));
}

function nothing(order, name) {
  if (order === "lag") return t(isUnknown() ? "tenants.behindUnknown" : "tenants.noneBehind");
  return name ? t("tenants.noMatch", { name }) : t("tenants.none");
}

function missing(servers) {
  return servers.length > 0 && h("p", { class: "note bad" }, t("tenants.missing", { servers: servers.join(", ") }));
}

function list({ items, missing: servers }, empty) {
  if (!items.length && servers.length) return null;
  return table(t("tenants.title"), [
    { title: t("tenants.tenant"), wide: true, phone: "full", cell: (row) => h("a", { href: `#/tenants/${row.tenant}`, translate: "no" }, row.tenant) },
    { title: t("tenants.activity"), num: true, phone: "fact", cell: (row) => rate(row.per_minute?.status ?? null) },
    { title: t("tenants.lag"), num: true, phone: "fact", cell: (row) => (row.behind_seconds ? h("span", { class: "bad-text" }, seconds(row.behind_seconds)) : "–") },
    { title: t("tenants.failures"), num: true, phone: "fact", cell: (row) => (row.failed ? h("a", { href: jobsHref(row.tenant, "failed") }, count(row.failed)) : count(row.failed)) },
    { title: t("tenants.jobs"), num: true, phone: "fact", cell: (row) => (row.jobs === null ? "–" : h("a", { href: jobsHref(row.tenant) }, count(row.jobs))) },
    { title: t("tenants.results"), num: true, phone: "fact", cell: (row) => bytes(row.result_bytes) },
    { title: t("tenants.stream"), num: true, phone: "fact", cell: (row) => (row.stream ? bytes(row.stream.bytes) : "–") },
    { title: t("tenants.dead"), num: true, phone: "fact", cell: (row) => (row.dead ? h("a", { href: `#/dead?tenant=${row.tenant}` }, count(row.dead)) : count(row.dead)) },
  ], items, empty);
}

function pages(order, name, cursor, facts) {
  return h("p", { class: "pages" },
    cursor && h("a", { href: href(order, name) }, t("shell.firstPage")),
    facts.next_cursor && h("a", { href: href(order, name, facts.next_cursor) }, t("shell.nextPage")));
}

function jobsHref(tenant, state) {
  return `#/jobs?${new URLSearchParams({ tenant, ...(state && { state }) })}`;
}

export async function tenant(visit) {
  const [, name] = visit.parts, body = h("div", { class: "stack" }), lastHour = historyPanel(visit);
  await visit.load(`tenants/${encodeURIComponent(name)}/`, (facts) => {
    if (!body.isConnected) {
      put(visit.main, h("p", { class: "trail" }, h("a", { href: "#/tenants" }, t("tenants.title"))), h("h1", { class: "id", translate: "no" }, name), body);
    }
    const goesOn = facts.behind_seconds > 0 || (facts.history?.unusual ?? null)?.until === null;
    put(body, delivery(facts), lastHour(facts.history), sourcesPanel(name, facts.stored?.sources), stored(facts), storage(facts), floodPanel(goesOn));
  }, EVERY);
}

function stored({ tenant: name, stored: found, failed }) {
  if (!found) return panel(t("tenants.jobs"), missing(["postgresql"]));
  const inOrder = [...found.states].sort((a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state));
  const states = inOrder.map((each) => h("div", {}, h("dt", {}, badge(each.state, t(`state.${each.state}`)), h("small", {}, ` ${each.kind}`)),
    h("dd", {}, h("a", { href: `${jobsHref(name, each.state)}&kind=${each.kind}` }, count(each.count)))));
  return panel(t("tenants.jobs"),
    states.length ? h("dl", { class: "facts" }, states) : h("p", { class: "empty" }, t("tenants.noJobs")),
    h("h3", {}, t("tenants.failuresDay", { count: failed, shown: count(failed) })), hours(found.failures));
}

/** Make a bar for each hour of the last day with failures. */
function hours(failures) {
  const most = Math.max(1, ...failures.map((each) => each.failed));
  if (!failures.length) return h("p", { class: "empty" }, t("tenants.noFailures"));
  return table(t("tenants.failuresByHour"), [
    { title: t("tenants.hour"), phone: "lead", cell: (each) => `${clock(each.at, "day")} ${clock(each.at)}` },
    { title: t("tenants.failuresHour"), num: true, phone: "fact", cell: (each) => count(each.failed) },
    { title: t("tenants.share"), wide: true, phone: "full", cell: (each) => h("meter", { min: 0, max: most, value: each.failed, "aria-label": t("tenants.share") }) },
  ], [...failures].reverse(), "");
}

function delivery({ tenant: name, groups, per_minute: activity, dead, behind_seconds: behind, missing: servers }) {
  if (!groups) return panel(t("tenants.delivery"), missing(["redis"]));
  return panel(t("tenants.delivery"),
    missing(servers.filter((each) => each !== "postgresql")), // which the panel of jobs names
    lateness(behind),
    table(t("tenants.delivery"), [
      { title: t("tenants.group"), phone: "full", cell: ([group]) => h("strong", { translate: "no" }, group) },
      { title: t("tenants.activity"), num: true, phone: "fact", cell: ([group]) => rate(activity[group] ?? null) },
      { title: t("tenants.waiting"), num: true, phone: "fact", cell: ([, lag]) => count(lag.waiting) },
      { title: t("tenants.atConsumers"), num: true, phone: "fact", cell: ([, lag]) => count(lag.pending) },
      { title: t("tenants.oldest"), num: true, phone: "fact", cell: ([, lag]) => (lag.waiting || lag.pending ? seconds(lag.oldest_seconds) : "–") },
    ], Object.entries(groups), t("tenants.noStream")),
    h("p", {}, dead > 0 ? h("a", { href: `#/dead?tenant=${name}` }, t("tenants.deadCount", { count: dead, shown: count(dead) })) : t("tenants.noDead")));
}

/** Show whether a tenant is behind; null is unknown. */
function lateness(behind) {
  if (behind === null) return h("p", { class: "note warn" }, t("tenants.isBehindUnknown"));
  if (behind > 0) return h("p", { class: "note bad" }, t("tenants.isBehind", { time: seconds(behind) }));
  return h("p", { class: "note good" }, t("tenants.isNotBehind"));
}

function storage({ jobs, result_bytes: results, all_result_bytes: all, stream, redis_bytes: used }) {
  const fact = (title, value, share) => h("div", {}, h("dt", {}, title), h("dd", {}, value, share && h("small", {}, ` ${share}`)));
  const part = (size, whole, key) => (size && whole ? t(key, { percent: percent(Math.min(100, Math.round((100 * size) / whole))) }) : null);
  return panel(t("tenants.storage"), h("dl", { class: "facts" },
    fact(t("tenants.jobs"), count(jobs)), fact(t("tenants.results"), bytes(results), part(results, all, "tenants.ofResults")),
    fact(t("tenants.streamEntries"), stream ? count(stream.entries) : "–"),
    fact(t("tenants.stream"), stream ? bytes(stream.bytes) : "–", part(stream?.bytes, used, "tenants.ofRedis"))));
}
