// Searches for jobs: their addresses, their filters, and the table of what was found.

import { h, table } from "./dom.js";
import { bar, jobHref, stateBadge } from "./format.js";
import { parts, t } from "./text.js";
import { when, zoneIsUtc } from "./time.js";
import { goTo } from "./visit.js";

export const STATES = ["queued", "processing", "done", "failed", "cancelled"];
/** Spans of time before now, in seconds. */
export const SPANS = { __proto__: null, "15m": 900, "1h": 3_600, "24h": 86_400, "7d": 604_800 };
const FILTERS = ["id", "part", "tenant", "kind", "state", "job_type", "worker", "code", "last", "since", "until"];
const LABEL = "label.";
const SHORT_ERROR = 60; // characters that fit in two lines
const MINUTE = 60_000; // milliseconds

/** Return the address of a search: searchHref({ tenant: "acme", "label.customer": "c8" }). */
export function searchHref(filters) {
  return `#/jobs?${new URLSearchParams(Object.entries(filters).filter(([, value]) => value))}`;
}

/** Return the filters of an address, without others, such as a cursor. */
export function filtersOf(query) {
  return [...query].filter(([name, value]) => value && (FILTERS.includes(name) || name.startsWith(LABEL)));
}

/** Return the parameters for the server, which knows times and no spans before now. */
export function serverQuery(query) {
  const filters = Object.fromEntries(filtersOf(query));
  const span = SPANS[filters.last];
  delete filters.last;
  // Whole minutes, so that the answers of a minute have one address.
  if (span) filters.since = new Date(Math.floor(Date.now() / MINUTE) * MINUTE - span * 1000).toISOString();
  const cursor = query.get("cursor");
  return new URLSearchParams({ ...filters, ...(cursor ? { cursor } : {}) });
}

/** Return the name of a filter for people. */
export function filterName(name) {
  return name.startsWith(LABEL) ? t("jobs.labelNamed", { name: name.slice(LABEL.length) }) : t(`jobs.by-${name}`);
}

/** Return the value of a filter for people. */
export function filterValue(name, value) {
  if (name === "last") return t(`jobs.last-${value in SPANS ? value : "any"}`);
  return name === "since" || name === "until" ? when(value) : value;
}

/** Make a link for each filter, which leaves that filter out. */
export function chips(query) {
  const filters = filtersOf(query);
  return filters.map(([name, value]) => {
    const rest = filters.filter((each) => each[0] !== name);
    const isText = name === "last" || (name === "state" && STATES.includes(value));
    const shown = name === "last" ? filterValue(name, value) : isText ? t(`state.${value}`) : value;
    return h("a", { class: "chip", href: searchHref(Object.fromEntries(rest)) },
      h("small", {}, filterName(name)), " ", h("b", { translate: isText ? null : "no" }, shown), h("i", { "aria-hidden": "true" }, " ×"),
      h("span", { class: "unseen" }, ` ${t("jobs.remove")}`));
  });
}

/** Make the form of all filters; submitting it goes to the address of the search. */
export function filterForm(query, kinds) {
  const field = (name, label, extra = {}) =>
    h("p", {}, h("label", { for: `by-${name}` }, label),
      h("input", { id: `by-${name}`, name, value: query.get(name) ?? "", autocomplete: "off", spellcheck: "false", ...extra }));
  const select = (name, label, options) =>
    h("p", {}, h("label", { for: `by-${name}` }, label),
      h("select", { id: `by-${name}`, name },
        h("option", { value: "" }, t("jobs.any")),
        options.map(([value, text]) => h("option", { value, selected: query.get(name) === value, translate: name === "kind" && "no" }, text))));
  const time = (name, label) => field(name, label, { type: "datetime-local", step: "1", value: localInput(query.get(name)) });
  const labels = filtersOf(query).filter(([name]) => name.startsWith(LABEL)).map(([name, value]) => `${name.slice(LABEL.length)}=${value}`);
  const more = ["part", "worker", "code", "last", "since", "until"];
  const go = (event) => {
    event.preventDefault();
    goTo(searchHref(filled(new FormData(form))));
  };
  const form = h("form", { class: "search-form", role: "search", "aria-label": t("jobs.filters"), onsubmit: go, onchange: (event) => {
    if (event.target.matches("select")) go(event);
  } },
    h("div", { class: "filters" },
      field("id", t("jobs.idBegins"), { type: "search" }),
      field("tenant", t("jobs.tenant"), { list: "tenant-names" }),
      select("kind", t("jobs.kind"), kinds.map((each) => [each, each])),
      select("state", t("jobs.state"), STATES.map((each) => [each, t(`state.${each}`)])),
      field("job_type", t("jobs.type")),
      h("p", { class: "go" }, h("button", { type: "submit", class: "primary" }, t("jobs.search")), h("a", { href: "#/jobs" }, t("jobs.clear")))),
    h("details", { class: "more", "data-key": "more-filters", open: labels.length > 0 || more.some((name) => query.get(name)) },
      h("summary", {}, t("jobs.moreFilters")),
      h("div", { class: "filters" },
        field("part", t("jobs.by-part")), field("worker", t("jobs.worker")), field("code", t("jobs.by-code")),
        h("p", {}, h("label", { for: "by-label" }, t("jobs.labelFilter")),
          h("input", { id: "by-label", name: "label", value: labels.join(", "), autocomplete: "off", spellcheck: "false" })),
        select("last", t("jobs.by-last"), Object.keys(SPANS).map((each) => [each, t(`jobs.last-${each}`)])),
        time("since", t("jobs.by-since")), time("until", t("jobs.by-until")))),
    h("datalist", { id: "tenant-names" }));
  return form;
}

/** Return the filters of a form that has been filled in. */
function filled(data) {
  const found = {};
  for (const [name, raw] of data) {
    const value = raw.trim();
    if (!value) continue;
    if (name === "since" || name === "until") {
      const at = new Date(value + (zoneIsUtc() ? "Z" : ""));
      if (!Number.isNaN(at.getTime())) found[name] = at.toISOString();
    } else if (name === "label") {
      for (const pair of value.split(",")) {
        const [label, ...rest] = pair.split("=");
        if (label.trim()) found[LABEL + label.trim()] = rest.join("=").trim();
      }
    } else found[name] = value;
  }
  return found;
}

/** Return a time in the form of a field for dates and times. */
function localInput(text) {
  const at = new Date(text ?? NaN);
  if (Number.isNaN(at.getTime())) return "";
  const shift = zoneIsUtc() ? 0 : at.getTimezoneOffset() * MINUTE;
  return new Date(at.getTime() - shift).toISOString().slice(0, 19);
}

function link(filter, text) {
  return text ? h("a", { class: "short", href: searchHref(filter), title: text, translate: "no" }, text) : "–";
}

export function jobCell(job) {
  return h("span", { class: "job", translate: "no" }, h("a", { href: jobHref(job), "data-key": jobHref(job) }, job.id),
    h("small", {}, job.kind, job.attempt > 1 && h("span", { translate: "yes" }, ` · ${t("jobs.attemptNumber", { attempt: String(job.attempt) })}`)));
}

export function tenantCell(job) {
  return link({ tenant: job.tenant }, job.tenant);
}

export function typeCell(job) {
  return link({ job_type: job.job_type }, job.job_type);
}

export function workerCell(job) {
  return link({ worker: job.worker }, job.worker);
}

function outcomeCell(job) {
  if (job.state === "processing") return bar(job.progress);
  if (!job.error && !job.code) return "";
  const code = job.code && h("a", { class: "badge is-failed", href: searchHref({ code: job.code }), translate: "no" }, job.code);
  return h("div", { class: "outcome" }, code, job.error && errorText(job));
}

/** Show an error; a long one is cut to two lines until it is focused or opened. */
function errorText(job) {
  const text = h("span", { class: "error-text", translate: "no" }, job.error);
  if (job.error.length <= SHORT_ERROR && !job.error.includes("\n")) return text;
  return h("details", { "data-key": `error ${jobHref(job)}` },
    h("summary", { "data-key": `whole ${jobHref(job)}`, title: job.error }, text,
      h("span", { class: "more-text" }, t("jobs.showMore")), h("span", { class: "less-text" }, t("jobs.showLess"))));
}

function timesCell(job) {
  return h("div", { class: "lines" }, h("span", { class: "not-on-phone" }, when(job.created_at)), h("small", { class: "updated" }, parts("jobs.updatedAt", { time: when(job.updated_at) })));
}

/** Make the table of jobs. */
export function jobTable(items, empty) {
  return table(t("jobs.title"), [
    { title: t("jobs.state"), phone: "lead", cell: (job) => stateBadge(job.state, job.status) },
    { title: t("jobs.job"), wide: true, phone: "lead", cell: jobCell },
    { title: t("jobs.tenant"), wide: true, phone: "line", cell: tenantCell },
    { title: t("jobs.typeAndWorker"), phone: "line", cell: (job) => h("div", { class: "lines" }, typeCell(job), h("small", { class: "not-on-phone" }, workerCell(job))) },
    { title: t("jobs.progressOrError"), wide: true, phone: "full", cell: outcomeCell },
    { title: t("jobs.created"), phone: "line", cell: timesCell },
  ], items, empty);
}
