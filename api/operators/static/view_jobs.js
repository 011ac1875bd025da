// Lists of jobs: all jobs with filters, and stalled jobs.

import { h, panel, put, table } from "./dom.js";
import { failures } from "./failures.js";
import { bar } from "./format.js";
import { idsButton } from "./job_ids.js";
import { nothingFound, suggestions } from "./near.js";
import { savedViews } from "./saved_views.js";
import { chips, filterForm, filtersOf, jobCell, jobTable, serverQuery, tenantCell, typeCell, workerCell } from "./search.js";
import { SteadyRows } from "./steady.js";
import { t } from "./text.js";
import { moment, seconds, when } from "./time.js";
import { PHONE_LIMIT, onPhone, skeleton } from "./visit.js";
import { helpHref } from "./view_help.js";
import { watchButton } from "./watch.js";

const EVERY = 5_000;
const EVERY_SEARCHED = 60_000; // of a search that reads many jobs to find few
const EVERY_PAST = 30_000; // of later pages

const keyOf = (job) => `${job.tenant}/${job.kind}/${job.id}`;

export async function jobs(visit) {
  const { query } = visit, page = serverQuery(query), rows = new SteadyRows(keyOf);
  const head = h("div", { class: "list-head" }), body = h("div"), failed = failures(visit);
  const ids = filtersOf(query).length > 0 && idsButton(visit);
  if (onPhone()) page.set("limit", String(PHONE_LIMIT));
  let every = EVERY;
  const watch = filtersOf(query).length > 0 && !query.get("cursor") && watchButton({
    path: `jobs/?${page}`, href: location.hash, name: filtersOf(query).map(([, value]) => value).join(" "),
  });
  const form = filterForm(query, visit.session.kinds);
  suggestTenants(form, visit.signal);
  put(head, h("span", { class: "chips" }, chips(query)), watch, ids);
  put(body, skeleton());
  put(visit.main, h("h1", {}, t("jobs.title")), form, savedViews(query), failed.node, head, body);
  const draw = (facts, mayChange) => {
    const shown = rows.take(facts.items, mayChange);
    every = query.get("cursor") ? EVERY_PAST : facts.searched_until ? EVERY_SEARCHED : EVERY;
    put(head, h("span", { class: "chips" }, chips(query)), watch, ids, rows.notice(() => draw(facts)));
    put(body, panel(null,
      shown.length ? jobTable(shown) : nothingFound(query, emptyText(facts, query), visit.signal),
      pages("jobs", page, facts)));
  };
  await visit.load(`jobs/?${page}`, draw, () => every, failed.update);
}

/** Offer the names of tenants while the name of one is typed. */
function suggestTenants(form, signal) {
  const field = form.querySelector("#by-tenant"), names = form.querySelector("datalist");
  field.addEventListener("input", async () => {
    const text = field.value.trim();
    const { tenants } = await suggestions(text, signal).catch(() => ({ tenants: [] }));
    if (field.value.trim() === text) put(names, tenants.map((name) => h("option", { value: name })));
  });
}

function emptyText(facts, query) {
  if (!facts.next_cursor) return t(filtersOf(query).length ? "jobs.noMatch" : "jobs.noJobs");
  if (query.get("id") || !facts.searched_until) return t("jobs.noMatchSoFar");
  return t("jobs.noMatchBackTo", { time: moment(facts.searched_until) });
}

function pages(name, page, facts) {
  const next = new URLSearchParams(page), first = new URLSearchParams(page);
  if (facts.next_cursor) next.set("cursor", facts.next_cursor);
  first.delete("cursor");
  return h("p", { class: "pages" },
    page.get("cursor") && h("a", { href: `#/${name}?${first}` }, t("shell.firstPage")),
    facts.next_cursor && h("a", { href: `#/${name}?${next}` }, t(facts.searched_until ? "jobs.continue" : "shell.nextPage")));
}

export async function stalled(visit) {
  const page = new URLSearchParams([...visit.query].filter(([name]) => name === "cursor"));
  const rows = new SteadyRows(keyOf), head = h("div", { class: "list-head" }), body = h("div");
  const draw = (facts, mayChange) => {
    if (!body.isConnected) {
      put(visit.main, h("h1", {}, t("jobs.titleStalled")),
        h("p", { class: "lead" }, t("jobs.stalledLead", { time: seconds(facts.after_seconds) })), h("p", { class: "hint" }, h("a", { href: helpHref("silent") }, t("help.link"))), head, body);
    }
    const shown = rows.take(facts.items, mayChange), still = new Set(facts.items.map(keyOf));
    put(head, rows.notice(() => draw(facts)));
    put(body, panel(null, list(shown, (job) => (still.has(keyOf(job)) ? null : "gone")), pages("stalled", page, facts)));
  };
  await visit.load(`stalled/?${page}`, draw, EVERY * 4);
}

function list(items, rowClass) {
  return table(t("jobs.titleStalled"), [
    { title: t("jobs.lastEvent"), phone: "line", cell: (job) => when(job.last_event_ms) },
    { title: t("jobs.job"), wide: true, phone: "full", cell: jobCell },
    { title: t("jobs.tenant"), wide: true, phone: "line", cell: tenantCell },
    { title: t("jobs.type"), phone: "line", cell: typeCell },
    { title: t("jobs.progress"), wide: true, phone: "full", cell: (job) => bar(job.progress) },
    { title: t("jobs.worker"), phone: "line", cell: workerCell },
  ], items, t("jobs.noStalled"), rowClass);
}
