// The overview, and the tenants.

import { h, panel, put, table } from "./dom.js";
import { ago, count, rate, seconds } from "./format.js";
import { get, serverNow } from "./http.js";
import { plot } from "./plots.js";
import { LATE, groupsOf, healthOf, overdueSample } from "./health.js";

const EVERY = 5_000;
const SIGNS = { good: "✓", warn: "!", bad: "✕" };
const DESCRIPTIONS = {
  __proto__: null,
  status: "Documents in Redis, for progress requests",
  rows: "Stored jobs and history in PostgreSQL",
};

export async function overview(visit) {
  const parts = h("div", { class: "stack" });
  await visit.live(async () => {
    const facts = await get("overview/", { signal: visit.signal }), found = healthOf(facts);
    if (!parts.isConnected) put(visit.main, h("h1", {}, "Overview"), parts);
    // Also without new samples, because a missing sample is an issue.
    put(parts, health(found), tiles(facts), groups(facts.samples), consumers(facts), servers(facts.servers));
    document.title = `${SIGNS[found.tone]} Overview · jobtrail`;
  }, EVERY);
}

function health({ tone, text, issues }) {
  return h("section", { class: `health ${tone}`, "aria-label": "Health" },
    h("p", {}, h("span", { class: "sign-of", "aria-hidden": "true" }, SIGNS[tone]), h("strong", {}, text)),
    issues.length > 0 && h("ul", {}, issues.map((each) =>
      h("li", { class: each.tone }, each.href ? h("a", { href: each.href }, each.text) : each.text))));
}

function tiles(facts) {
  const { samples, stalled, consumers: all } = facts;
  const alive = (all ?? []).filter((each) => each.alive).length;
  const known = groupsOf(facts), served = known.filter((each) => each.alive);
  const dead = samples?.dead ?? null;
  const number = stalled && `${count(stalled.count)}${stalled.more ? "+" : ""}`;
  return h("div", { class: "tiles" },
    tile("Dead letters", count(dead), "#/dead", dead > 0 && "warn", "entries that were not applied"),
    tile("Stalled jobs", number ?? "–", "#/stalled", stalled?.count > 0 && "warn",
      stalled ? `no event for ${seconds(stalled.after_seconds)}` : "PostgreSQL is unavailable"),
    tile("Consumers alive", all ? count(alive) : "–", null,
      all && (!alive || served.length < known.length) && "bad",
      all ? `for ${served.length} of ${known.length} groups` : "Redis is unavailable"));
}

function tile(name, figure, href, tone, hint) {
  const inner = [h("span", { class: "name" }, name), h("span", { class: "figure" }, figure), h("span", { class: "hint" }, hint)];
  return h(href ? "a" : "div", { class: `tile ${tone || ""}`, href }, inner);
}

function groups(samples) {
  if (!samples) return panel("Groups", h("p", { class: "note bad" }, "Redis is unavailable: there are no samples."));
  const overdue = overdueSample(samples), { at } = samples;
  // An overdue figure is not shown as the current one.
  const last = (values) => (overdue === null && values.length ? values[values.length - 1] : null);
  const end = at.length ? Math.max(at[at.length - 1], overdue === null ? 0 : serverNow()) : 0;
  return h("div", { class: "groups" }, Object.entries(samples.groups).map(([name, group]) => {
    const age = last(group.oldest_seconds);
    return h("section", { class: "panel group", "aria-label": `Group ${name}` },
      h("header", {}, h("h2", {}, name), h("p", { class: "hint" }, DESCRIPTIONS[name] ?? "")),
      h("dl", { class: "figures" },
        figure("Throughput", rate(last(group.rate)), "entries/s"),
        figure("Waiting", count(last(group.waiting)), "entries"),
        figure("Pending", count(last(group.pending)), "delivered"),
        figure("Oldest", seconds(age), "unprocessed", age > LATE.bad ? "bad" : age > LATE.warn && "warn")),
      plot({ at, end, values: group.rate, label: "Throughput", write: (value) => `${rate(value)}/s`, tone: "calm" }),
      plot({ at, end, values: group.waiting, label: "Waiting", write: count, tone: "cool" }),
      plot({ at, end, values: group.oldest_seconds, label: "Oldest unprocessed", write: seconds, tone: "warm" }));
  }));
}

function figure(name, value, unit, tone) {
  return h("div", { class: tone || null }, h("dt", {}, name), h("dd", {}, value, h("small", {}, ` ${unit}`)));
}

function consumers({ consumers: all }) {
  return panel("Consumers", table("Consumers", [
    { title: "Group", cell: (each) => h("strong", {}, each.group) },
    { title: "State", cell: (each) => h("span", { class: `badge ${each.alive ? "is-done" : "is-failed"}` }, each.alive ? "alive" : "not alive") },
    { title: "Name", cell: (each) => h("code", {}, each.name) },
    { title: "Host", cell: (each) => each.host },
    { title: "Process", num: true, cell: (each) => String(each.pid) },
    { title: "Started", cell: (each) => ago(each.since) },
    { title: "Last heartbeat", cell: (each) => ago(each.beat) },
    { title: "Applied", num: true, cell: (each) => count(each.applied) },
  ], all ?? [], all ? "There are no consumers. Start one: jobtrail consume status." : "Redis is unavailable."));
}

function servers(all) {
  return panel("Servers", h("ul", { class: "servers" }, all.map((each) =>
    h("li", { class: each.ok ? "good" : "bad" }, h("strong", {}, each.name), h("span", {}, each.description)))));
}

export async function tenants(visit) {
  const order = visit.query.get("order") === "lag" ? "lag" : "activity";
  const body = h("div");
  const choice = (name, label) =>
    h("a", { href: `#/tenants?order=${name}`, "aria-current": name === order && "true" }, label);
  let current;
  await visit.live(async () => {
    const facts = await get(`tenants/?order=${order}`, { signal: visit.signal });
    if (!body.isConnected) {
      put(visit.main, h("h1", {}, "Tenants"),
        h("p", { class: "choice" }, choice("activity", "Most active"), choice("lag", "Most behind")), body);
    }
    if (facts !== current) put(body, panel(null, list(facts.items, order)));
    current = facts;
  }, EVERY);
}

function list(items, order) {
  const sum = (row, name) => Object.values(row.groups).reduce((total, group) => total + (group[name] ?? 0), 0);
  const oldest = (row) => Math.max(0, ...Object.values(row.groups).map((group) => group.oldest_seconds));
  return table("Tenants", [
    { title: "Tenant", cell: (row) => h("a", { href: `#/jobs?tenant=${row.tenant}` }, row.tenant) },
    { title: "Entries/min", num: true, cell: (row) => rate(row.per_minute.status) },
    { title: "Waiting", num: true, cell: (row) => count(sum(row, "waiting")) },
    { title: "Pending", num: true, cell: (row) => count(sum(row, "pending")) },
    { title: "Oldest", num: true, cell: (row) => (oldest(row) ? seconds(oldest(row)) : "–") },
    { title: "Dead letters", num: true, cell: (row) => (row.dead ? h("a", { href: `#/dead?tenant=${row.tenant}` }, count(row.dead)) : "–") },
  ], items, order === "lag" ? "No tenant is behind." : "No tenant has been active in the last minutes.");
}
