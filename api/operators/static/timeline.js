// The timeline of a job: each attempt in a lane of its own, steps as bars, other events as signs.

import { h, s } from "./dom.js";
import { ENDS } from "./format.js";
import { t } from "./text.js";
import { clock, exact, seconds, zoneIsUtc } from "./time.js";

const LANE = 58, LEFT = 84, RIGHT = 14, HEAD = 8, FOOT = 26;
const COLOURS = 8;
const TICK_WIDTH = 96; // pixels between ticks, at least
const PERIODS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800];

const SHAPES = {
  __proto__: null,
  queued: "M-4,-4 H4 V4 H-4 Z",
  processing: "M-4,-6 L6,0 L-4,6 Z",
  done: "M-6,0 L-2,5 L6,-5",
  failed: "M-5,-5 L5,5 M5,-5 L-5,5",
  cancelled: "M-5,0 H5",
};

/** Make the timeline and its legend. `winner` is an entry id; `now` is null for a job that has ended. */
export function timelineOf(timeline, winner, width, now) {
  const times = [
    ...timeline.spans.flatMap((span) => [Date.parse(span.start), Date.parse(span.end)]),
    ...timeline.moments.map((each) => Date.parse(each.at)),
  ].filter((ms) => !Number.isNaN(ms));
  if (!times.length) return h("p", { class: "empty" }, t("job.noEvents"));
  const start = Math.min(...times), end = Math.max(...times, now ?? 0);
  const names = [...new Set(timeline.spans.map((span) => span.name))];
  const open = now === null ? null : openSpan(timeline);
  const scale = { start, end, width, x: (ms) => LEFT + ((ms - start) / Math.max(1, end - start)) * (width - LEFT - RIGHT) };
  return [h("div", { class: "scroll lives", tabindex: "0", "data-key": "timeline", role: "group", "aria-label": t("job.timeline") },
    chart(timeline, names, winner, scale, open, now)), legend(timeline.spans, names, open, now)];
}

/** Return the step that is running in a job that has not ended, the last one of its last attempt; undefined if that has none. */
function openSpan({ spans, moments }) {
  const latest = Math.max(...[...spans, ...moments].map((each) => each.attempt));
  return spans.findLast((span) => span.attempt === latest);
}

function chart(timeline, names, winner, scale, open, now) {
  const attempts = [...new Set([...timeline.spans, ...timeline.moments].map((each) => each.attempt))].sort((a, b) => a - b);
  const { start, end, width, x } = scale, height = HEAD + attempts.length * LANE + FOOT;
  const picture = s("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, class: "life", role: "img",
    "aria-label": t("job.timelineLabel", { count: attempts.length, time: seconds((end - start) / 1000), steps: names.length }),
  });
  picture.append(...ticks(scale, height));
  attempts.forEach((attempt, lane) => {
    const y = HEAD + lane * LANE;
    const spans = timeline.spans.filter((span) => span.attempt === attempt);
    const moments = timeline.moments.filter((each) => each.attempt === attempt);
    picture.append(
      s("text", { x: 0, y: y + 17, class: "lane" }, t("job.attemptLane", { attempt: String(attempt) })),
      s("line", { x1: LEFT, x2: width - RIGHT, y1: y + 13, y2: y + 13, class: "base" }));
    if (spans.includes(open)) picture.append(running(open, names, x, y, now));
    // What is drawn later lies on top: ends cover what came after them.
    for (const span of inOrder(spans)) picture.append(step(span, names, x, y, span === open ? now : null));
    for (const each of inOrder(moments)) picture.append(sign(each, x(Date.parse(each.at)), y + 13, each.entry_id === winner));
  });
  if (now !== null) {
    picture.append(s("g", { class: "now" },
      s("title", {}, t("job.nowAt", { time: exact(now) })),
      s("line", { x1: x(now), x2: x(now), y1: 0, y2: height - FOOT })));
  }
  return picture;
}

function inOrder(items) {
  const weight = (each) => (each.late ? 0 : ENDS.includes(each.type) ? 2 : 1);
  return [...items].sort((a, b) => weight(a) - weight(b));
}

function ticks({ start, end, width, x }, height) {
  const length = (end - start) / 1000;
  const most = Math.max(1, Math.floor((width - LEFT - RIGHT) / TICK_WIDTH));
  const period = PERIODS.find((each) => length / each <= most) ?? Math.ceil(length / most / 604_800) * 604_800;
  const size = period * 1000;
  // Whole hours and days of the viewer's zone, not of UTC.
  const shift = zoneIsUtc() || period < 1 ? 0 : new Date(start).getTimezoneOffset() * 60_000;
  const first = period < 1 ? start : Math.ceil((start - shift) / size) * size + shift;
  const found = [];
  for (let at = first; at <= end && found.length <= most; at += size) {
    const label = period < 1 ? `+ ${seconds((at - start) / 1000)}` : clock(at, period >= 86_400 ? "day" : period < 60 ? "second" : "minute");
    found.push(s("g", { class: "tick" },
      s("title", {}, exact(at)),
      s("line", { x1: x(at), x2: x(at), y1: HEAD, y2: height - FOOT + 4 }),
      s("text", { x: x(at), y: height - 8, "text-anchor": x(at) > width - RIGHT - 40 ? "end" : "start" }, label)));
  }
  return found;
}

function colour(name, names) {
  return `step-${names.indexOf(name) % COLOURS}`;
}

function step(span, names, x, y, now) {
  const left = x(Date.parse(span.start)), size = Math.max(2, x(Date.parse(span.end)) - left);
  // The name of the step that is running has the room until now.
  const room = Math.floor(((now === null ? size : x(now) - left) - 10) / 7), name = span.display;
  const text = name.length > room ? `${name.slice(0, Math.max(0, room - 1))}…` : name;
  const took = seconds((Date.parse(span.end) - Date.parse(span.start)) / 1000);
  return s("g", { translate: "no" },
    s("title", {}, span.late ? t("job.stepLate", { name }) : t("job.stepTook", { name, time: took })),
    s("rect", { x: left, y: y + 28, width: size, height: 20, rx: 3, class: `step ${colour(span.name, names)}${span.late ? " late" : ""}` }),
    room >= 3 && s("text", { x: left + 6, y: y + 42, class: "step-name" }, text));
}

/** Draw the time since the last event of the step that is running. */
function running(span, names, x, y, now) {
  const left = x(Date.parse(span.end));
  return s("rect", { x: left, y: y + 28, width: Math.max(0, x(now) - left), height: 20, class: `step running ${colour(span.name, names)}` });
}

function sign({ type, at, entry_id, late }, x, y, won) {
  const key = late ? "job.signLate" : won ? "job.signWon" : "job.sign";
  return s("g", { transform: `translate(${x} ${y})`, class: `sign is-${type}${won ? " won" : ""}${late ? " late" : ""}` },
    s("title", {}, t(key, { type, time: exact(at), entry: entry_id })),
    s("circle", { r: won ? 12 : 9 }),
    s("path", { d: SHAPES[type] ?? SHAPES.queued }));
}

function legend(spans, names, open, now) {
  if (!names.length) return null;
  return h("ul", { class: "legend", "aria-label": t("job.steps") }, names.map((name) => {
    const own = spans.filter((span) => span.name === name && !span.late);
    const end = (span) => (span === open ? now : Date.parse(span.end));
    const took = own.reduce((sum, span) => sum + end(span) - Date.parse(span.start), 0);
    const shown = spans.find((span) => span.name === name && span.display !== name)?.display ?? name;
    return h("li", {}, h("i", { class: colour(name, names), "aria-hidden": "true" }), h("span", { translate: "no" }, shown), h("small", {}, ` ${seconds(took / 1000)}`));
  }));
}
