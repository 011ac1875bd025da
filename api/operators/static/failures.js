// Above a list of failed jobs: how many there are, since when and for whom, and with which errors.

import { h, put } from "./dom.js";
import { ago, count } from "./format.js";
import { get, lastAnswer } from "./http.js";
import { filtersOf, searchHref, serverQuery } from "./search.js";
import { parts, t } from "./text.js";
import { moment } from "./time.js";

const EVERY = 30_000; // milliseconds
const SHOWN = 3; // groups that are shown unfolded

/** Return whether a search is about failed jobs only. */
function isOfFailures(query) {
  const state = query.get("state");
  return state === "failed" || (!state && Boolean(query.get("code")));
}

/** Make the head of a search for failed jobs: its node, and `update`, which is called with each look at the list. */
export function failures(visit) {
  const { query } = visit, node = h("section", { class: "failures", hidden: true, "aria-label": t("jobs.failures") });
  const asked = serverQuery(query), filters = Object.fromEntries(filtersOf(query));
  ["state", "cursor"].forEach((name) => asked.delete(name));
  const path = `failures/?${asked}`;
  let askedAt = -Infinity, drawn = null;
  const show = (isShown) => {
    node.hidden = !isShown;
    node.classList.toggle("panel", isShown);
  };
  const draw = (facts) => {
    if (facts !== drawn) put(node, content(facts, filters));
    show(facts.jobs > 0);
    drawn = facts;
  };
  const update = async () => {
    if (!isOfFailures(query) || Date.now() - askedAt < EVERY) return;
    askedAt = Date.now();
    try {
      draw(await get(path, { signal: visit.signal }));
    } catch (error) {
      if (visit.signal.aborted) return;
      if (error.status === undefined) throw error;
      show(drawn !== null || error.status !== 400); // the list below says that a filter is not valid
      if (drawn === null) put(node, h("p", { class: "hint" }, error.message));
    }
  };
  if (isOfFailures(query) && lastAnswer(path)) draw(lastAnswer(path)); // so that a list to which the operator comes back is in its place
  return { node: isOfFailures(query) && node, update };
}

function content(facts, filters) {
  const { groups } = facts, rest = facts.jobs - groups.reduce((sum, each) => sum + each.jobs, 0);
  const list = (some) => h("ul", { class: "cases" }, some.map((each) => group(each, filters)));
  const folded = groups.slice(SHOWN);
  return [
    h("h2", {}, t(facts.more ? "jobs.failedAtLeast" : "jobs.failed", { count: facts.jobs }), " · ", t("dead.tenants", { count: facts.tenants })),
    h("p", { class: "hint" }, times(facts),
      facts.more && [" · ", t(filters.id ? "jobs.ofFirst" : "jobs.ofNewest", { examined: facts.examined, time: moment(facts.since) })]),
    list(groups.slice(0, SHOWN)),
    folded.length > 0 && h("details", { "data-key": "more-errors" }, h("summary", {}, t("jobs.moreErrors", { count: folded.length })), list(folded)),
    rest > 0 && h("p", { class: "hint" }, t("jobs.otherErrors", { count: rest })),
    h("p", { class: "hint repeat" }, t("jobs.repeat")),
  ];
}

function times({ first, last }) {
  return [parts("dead.firstSeen", { time: ago(first) }), " · ", parts("dead.lastSeen", { time: ago(last) })];
}

function group(each, filters) {
  const one = (name, many) => (each[name] === null ? each[`${name}s`] > 1 && t(many, { count: each[`${name}s`] }) : h("a", { href: searchHref({ ...filters, [name]: each[name] }), translate: "no" }, each[name]));
  const facts = [t("dead.tenants", { count: each.tenants }), one("job_type", "jobs.types"), one("worker", "jobs.workers")].filter(Boolean);
  return h("li", {},
    h("p", { class: "case" },
      h("b", { class: "figure" }, count(each.jobs)),
      each.code === null ? h("span", { class: "badge" }, t("jobs.noCode")) : h("a", { class: "badge is-failed", href: searchHref({ ...filters, code: each.code }), translate: "no" }, each.code),
      h("span", { class: "detail", translate: "no" }, each.text)),
    h("p", { class: "hint" }, facts.map((fact) => [fact, " · "]), times(each)));
}
