// The charts of the overview: jobs, and the delivery of each group.
//
// A value of an interval is its highest one, so that a peak of a minute is seen in a day. Failed jobs have an
// axis of their own: beside many that are done, theirs would be a line at 0.

import { Charts, DURATIONS } from "./charts.js";
import { h, put } from "./dom.js";
import { count, rate, seconds } from "./format.js";
import { get } from "./http.js";
import { recall, remember } from "./stored.js";
import { parts, t } from "./text.js";
import { when } from "./time.js";

const SPANS = ["15m", "1h", "6h", "24h"];
const EVERY = { __proto__: null, "15m": 10_000, "1h": 10_000, "6h": 30_000, "24h": 60_000 };
const MAX_MARKS = 6;

/** Make the section of the charts; `visit.live` must call `update`. */
export function chartSection(visit) {
  const charts = new Charts(visit.signal), groups = new Map();
  const jobs = charts.make({
    label: t("charts.jobs"), unit: t("charts.perMinute"), write: rate,
    series: [
      { label: t("charts.created"), colour: "cool" },
      { label: t("state.done"), colour: "good" },
    ],
  });
  const failed = charts.make({
    label: t("charts.failed"), unit: t("charts.perMinute"), write: rate, series: [{ label: "", colour: "bad" }],
  });
  const body = h("div", { class: "charts" }, jobs.node, failed.node), marks = h("p", { class: "hint marks" }), note = h("div");
  let span = SPANS.includes(recall("span")) ? recall("span") : "1h", due = 0;
  const choices = h("div", { class: "choice", role: "group", "aria-label": t("charts.span") });
  const drawChoices = () => put(choices, SPANS.map((each) => h("button", {
    type: "button", "aria-pressed": String(each === span), "data-key": `span ${each}`, onclick: () => {
      span = each;
      remember("span", span);
      due = 0;
      drawChoices();
      visit.refresh();
    },
  }, t(`charts.span-${each}`))));
  drawChoices();
  const node = h("section", { class: "panel", "aria-labelledby": "charts-title" },
    h("header", { class: "charts-head" }, h("h2", { id: "charts-title" }, t("charts.title")), choices), note, body, marks);

  async function update() {
    if (Date.now() < due) return;
    const asked = span, facts = await get(`charts/?span=${asked}`, { signal: visit.signal });
    if (asked !== span) return;
    due = Date.now() + EVERY[asked] - 1_000;
    const { delivery } = facts;
    charts.show({ since: facts.since, until: facts.until, marks: delivery?.marks ?? [] });
    put(note, missing(facts));
    showJobs(jobs, failed, facts);
    if (delivery) showGroups(delivery);
    put(marks, markTexts(delivery?.marks ?? []));
  }

  function showGroups({ at, groups: found }) {
    for (const [name, group] of Object.entries(found)) {
      if (!groups.has(name)) {
        const made = groupCharts(charts, name);
        groups.set(name, made);
        body.append(...made.map((each) => each.node));
      }
      const [applied, waiting, oldest] = groups.get(name);
      applied.show(at, [group.rate]);
      waiting.show(at, [group.waiting]);
      oldest.show(at, [group.oldest_seconds]);
    }
  }

  return { node, update };
}

function showJobs(chart, failed, { jobs, step_seconds: step }) {
  for (const each of [chart, failed]) each.node.hidden = !jobs && !each.at.length; // no values came yet
  if (!jobs) return;
  const { most } = jobs, unit = step > 60 ? t("charts.highestMinute", { time: seconds(step) }) : t("charts.perMinute");
  chart.show(jobs.at, [most.created, most.done], unit);
  failed.show(jobs.at, [most.failed], unit);
}

function groupCharts(charts, group) {
  const make = (name, unit, write, colour, steps) =>
    charts.make({ label: t(`charts.${name}`, { group }), unit, write, series: [{ label: "", colour }], steps });
  return [
    make("applied", t("charts.entriesPerSecond"), rate, "accent"),
    make("waiting", t("charts.entries"), count, "cool"),
    make("oldest", t("charts.age"), seconds, "warn", DURATIONS),
  ];
}

function missing({ jobs, delivery }) {
  const names = [!jobs && "postgresql", !delivery && "redis"].filter(Boolean);
  return names.length > 0 && h("p", { class: "note bad" }, t("charts.missing", { servers: names.join(", ") }));
}

function markTexts(all) {
  const last = all.slice(-MAX_MARKS).reverse();
  if (!last.length) return [];
  return [t("charts.marks"), " ", last.flatMap((each, number) =>
    [number ? " · " : "", ...parts(`charts.mark-${each.what}`, { time: when(each.at) })])];
}
