// The last hour of one tenant: charts, since when it is unusual, where its jobs come from, what to do.

import { Charts, DURATIONS } from "./charts.js";
import { h, panel, table } from "./dom.js";
import { ago, count, rate, seconds } from "./format.js";
import { parts, t } from "./text.js";
import { helpHref } from "./view_help.js";

const HOUR = 3_600_000;

/** Make the panel of the last hour; its `show` draws an answer and returns the panel. */
export function historyPanel(visit) {
  const charts = new Charts(visit.signal);
  const make = (name, unit, write, colour, steps) =>
    charts.make({ label: t(`tenants.${name}`), unit: t(unit), write, series: [{ label: "", colour }], steps });
  const activity = make("activityChart", "tenants.perMinute", rate, "accent");
  const late = make("lateChart", "charts.age", seconds, "warn", DURATIONS);
  const body = h("div", { class: "charts of-tenant" }, activity.node, late.node);
  return (history) => {
    if (!history) return null;
    const until = history.at.at(-1);
    if (until === undefined) return panel(t("tenants.lastHour"), h("p", { class: "empty" }, t("tenants.noHistory")));
    const { unusual } = history;
    charts.show({ since: until - HOUR, until, marks: unusual ? [{ at: unusual.since }] : [] });
    activity.show(history.at, [history.per_minute]);
    late.show(history.at, [history.late_seconds]);
    const unknown = history.per_minute.includes(null) || history.late_seconds.includes(null);
    return panel(t("tenants.lastHour"), unusualNote(unusual), body, unknown && h("p", { class: "hint" }, t("tenants.partlyKnown")));
  };
}

function unusualNote(unusual) {
  if (!unusual) return null;
  const values = { since: ago(unusual.since), until: ago(unusual.until), most: rate(unusual.most), usual: rate(unusual.usual) };
  const isOver = unusual.until !== null;
  return h("p", { class: isOver ? "note" : "note warn" }, parts(isOver ? "tenants.wasUnusual" : "tenants.isUnusual", values));
}

/** Show the types and the workers of the jobs of the last minutes. */
export function sourcesPanel(name, sources) {
  if (!sources) return null;
  const { jobs, more, types, workers } = sources;
  const search = (found) => `#/jobs?${new URLSearchParams({ tenant: name, ...found })}`;
  const share = (each) => h("meter", { min: 0, max: jobs, value: each.jobs, class: "share", "aria-label": t("tenants.shareOfJobs") });
  const columns = (title, cell) => [
    { title, wide: true, phone: "full", cell },
    { title: t("tenants.jobs"), num: true, phone: "fact", cell: (each) => count(each.jobs) },
    { title: t("tenants.shareOfJobs"), phone: "fact-full", cell: share },
  ];
  const ofType = (each) => h("a", { href: search({ kind: each.kind, ...(each.job_type !== null && { job_type: each.job_type }) }), translate: "no" }, each.job_type ?? t("overview.noType"));
  const ofWorker = (each) => h("a", { href: search({ worker: each.worker }), translate: "no" }, each.worker);
  return panel(t("tenants.sources"),
    jobs > 0 && h("p", { class: "hint" }, t(more ? "tenants.sourcesNewest" : "tenants.sourcesAll", { count: jobs, shown: count(jobs) })),
    jobs > 0 ? h("div", { class: "sources" },
      table(t("tenants.types"), columns(t("overview.type"), ofType), types, ""),
      table(t("tenants.workers"), columns(t("overview.worker"), ofWorker), workers, t("tenants.noWorkers")))
      : h("p", { class: "empty" }, t("tenants.noSources")));
}

/** Make the panel of steps against one tenant's flood; open while it goes on. */
export function floodPanel(isOpen) {
  return h("details", { class: "panel", open: isOpen, "data-key": "flood" }, h("summary", {}, t("tenants.flood")),
    h("ul", { class: "steps-to-do" }, t("tenants.floodSteps").split("\n").map((each) => h("li", {}, each))),
    h("p", {}, h("a", { href: helpHref("flood") }, t("help.link"))));
}
