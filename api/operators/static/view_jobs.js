// Lists of jobs: all jobs with filters, and stalled jobs.

import { h, panel, put, table } from "./dom.js";
import { ago, badge, bar, jobHref, moment, seconds } from "./format.js";
import { get } from "./http.js";

const EVERY = 5_000;
const FILTERS = ["id", "tenant", "kind", "state", "job_type"];
const COLUMNS = [
  { title: "State", cell: (job) => badge(job.state, job.status) },
  { title: "Job", wide: true, cell: (job) => h("span", { class: "job" }, h("a", { href: jobHref(job) }, job.id), h("small", {}, job.kind)) },
  { title: "Tenant", wide: true, cell: (job) => h("a", { href: `#/jobs?tenant=${job.tenant}` }, job.tenant) },
  { title: "Type", cell: (job) => job.job_type ?? "–" },
  { title: "Progress or error", wide: true, cell: (job) => (job.state === "processing" ? bar(job.progress) : errorText(job.error)) },
  { title: "Attempt", num: true, cell: (job) => String(job.attempt) },
  { title: "Created", cell: (job) => ago(job.created_at) },
  { title: "Updated", cell: (job) => ago(job.updated_at) },
];

function errorText(error) {
  return error ? h("span", { class: "error-text", title: error }, error) : "";
}

export async function jobs(visit) {
  const { query } = visit, body = h("div");
  const page = new URLSearchParams([...query].filter(([name, value]) => value && [...FILTERS, "cursor"].includes(name)));
  let current;
  await visit.live(async () => {
    const facts = await get(`jobs/?${page}`, { signal: visit.signal });
    if (!body.isConnected) put(visit.main, h("h1", {}, "Jobs"), filters(query, visit.session.kinds), body);
    if (facts !== current) put(body, panel(null, table("Jobs", COLUMNS, facts.items, nothing(facts, query.get("id"))), pages("jobs", page, facts)));
    current = facts;
  }, query.get("cursor") ? 30_000 : EVERY);
}

function nothing(facts, byId) {
  if (!facts.next_cursor) return "No jobs match the filters.";
  const range = byId || !facts.searched_until ? "" : `, searched back to ${moment(facts.searched_until)}`;
  return `No matches so far${range}.`;
}

function pages(name, page, facts) {
  const next = new URLSearchParams(page), first = new URLSearchParams(page);
  if (facts.next_cursor) next.set("cursor", facts.next_cursor);
  first.delete("cursor");
  return h("p", { class: "pages" },
    page.get("cursor") && h("a", { href: `#/${name}?${first}` }, "First page"),
    facts.next_cursor && h("a", { href: `#/${name}?${next}` }, facts.searched_until ? "Continue the search" : "Next page"));
}

function filters(query, kinds) {
  const field = (name, label, extra = {}) =>
    h("p", {}, h("label", { for: `by-${name}` }, label),
      h("input", { id: `by-${name}`, name, value: query.get(name) ?? "", autocomplete: "off", spellcheck: "false", ...extra }));
  const select = (name, label, options) =>
    h("p", {}, h("label", { for: `by-${name}` }, label),
      h("select", { id: `by-${name}`, name },
        h("option", { value: "" }, "any"),
        options.map((each) => h("option", { value: each, selected: query.get(name) === each }, each))));
  const go = (event) => {
    event.preventDefault();
    const filled = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
    location.hash = `#/jobs?${new URLSearchParams(filled)}`;
  };
  const form = h("form", { class: "filters", role: "search", onsubmit: go, onchange: (event) => {
    if (event.target.matches("select")) go(event);
  } },
    field("id", "Id begins with", { type: "search" }),
    field("tenant", "Tenant"),
    select("kind", "Kind", kinds),
    select("state", "State", ["queued", "processing", "done", "failed", "cancelled"]),
    field("job_type", "Type"),
    h("p", { class: "go" }, h("button", { type: "submit", class: "primary" }, "Search"), h("a", { href: "#/jobs" }, "Clear")));
  return form;
}

export async function stalled(visit) {
  const page = new URLSearchParams([...visit.query].filter(([name]) => name === "cursor"));
  const body = h("div");
  let current;
  await visit.live(async () => {
    const facts = await get(`stalled/?${page}`, { signal: visit.signal });
    if (facts !== current) put(body, panel(null, list(facts), pages("stalled", page, facts)));
    if (!body.isConnected) {
      put(visit.main, h("h1", {}, "Stalled jobs"),
        h("p", { class: "lead" }, `Processing, but without an event for ${seconds(facts.after_seconds)} or more; the longest first.`), body);
    }
    current = facts;
  }, EVERY * 4);
}

function list(facts) {
  return table("Stalled jobs", [
    { title: "Last event", cell: (job) => ago(job.last_event_ms) },
    { title: "Job", wide: true, cell: (job) => h("span", { class: "job" }, h("a", { href: jobHref(job) }, job.id), h("small", {}, job.kind)) },
    { title: "Tenant", wide: true, cell: (job) => h("a", { href: `#/jobs?tenant=${job.tenant}` }, job.tenant) },
    { title: "Type", cell: (job) => job.job_type ?? "–" },
    { title: "Progress", wide: true, cell: (job) => bar(job.progress) },
    { title: "Worker", cell: (job) => job.worker ?? "–" },
    { title: "Attempt", num: true, cell: (job) => String(job.attempt) },
  ], facts.items, "No jobs are stalled.");
}
