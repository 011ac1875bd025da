// Plots of the last hour, and the timeline of a job.

import { h, s } from "./dom.js";
import { exact, moment, seconds } from "./format.js";

const WIDTH = 560, HEIGHT = 96, TOP = 8, BOTTOM = 16;
const HOUR = 3_600_000;
const PERIODS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18_000, 36_000, 86_400];

/** Draw a column of samples over the hour before `end`; null values leave gaps. */
export function plot({ at, values, end, label, write, tone }) {
  const start = end - HOUR;
  const numbers = values.filter((value) => value !== null);
  const most = Math.max(0, ...numbers), top = nice(most, write === seconds ? PERIODS : []);
  const x = (ms) => Math.max(0, ((ms - start) / HOUR) * WIDTH);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const picture = s("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: `plot tone-${tone}`, role: "img",
    preserveAspectRatio: "none",
    "aria-label": numbers.length
      ? `${label}, last hour: now ${write(numbers[numbers.length - 1])}, highest ${write(most)}`
      : `${label}: no samples yet`,
  });
  for (const share of [0, 0.5, 1]) {
    picture.append(s("line", { x1: 0, x2: WIDTH, y1: y(top * share), y2: y(top * share), class: share ? "grid" : "base" }));
  }
  for (const run of runs(at, values)) {
    const points = run.map(([ms, value]) => `${x(ms).toFixed(1)},${y(value).toFixed(1)}`);
    const [first, last] = [x(run[0][0]), x(run[run.length - 1][0])];
    picture.append(
      s("path", { class: "area", d: `M${first},${y(0)} L${points.join(" L")} L${last},${y(0)} Z` }),
      s("path", { class: "line", d: `M${points.join(" L")}`, "vector-effect": "non-scaling-stroke" }));
  }
  const cursor = s("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  picture.append(cursor);
  const reading = h("span", { class: "reading" });
  const figure = h("figure", { class: "plotted" },
    h("figcaption", {}, h("span", {}, label), reading),
    h("div", { class: "scaled" }, picture,
      h("div", { class: "scale", "aria-hidden": "true" }, h("span", {}, write(top)), h("span", {}, "0"))),
    h("div", { class: "axis", "aria-hidden": "true" }, ["1 h ago", "30 min ago", "now"].map((each) => h("span", {}, each))));
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const ms = start + ((event.clientX - box.left) / box.width) * HOUR;
    const nearest = at.reduce((best, each, number) => Math.abs(each - ms) < Math.abs(at[best] - ms) ? number : best, 0);
    if (!at.length || values[nearest] === null) return;
    cursor.setAttribute("x1", x(at[nearest]));
    cursor.setAttribute("x2", x(at[nearest]));
    cursor.setAttribute("visibility", "visible");
    reading.textContent = `${write(values[nearest])} at ${moment(at[nearest])}`;
  });
  picture.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    reading.textContent = "";
  });
  return figure;
}

function runs(at, values) {
  const found = [[]];
  values.forEach((value, number) => {
    const gap = number > 0 && at[number] - at[number - 1] > 60_000;
    if ((value === null || gap) && found[found.length - 1].length) found.push([]);
    if (value !== null) found[found.length - 1].push([at[number], value]);
  });
  return found.filter((run) => run.length);
}

/** Return the end of a scale: a round number of at least `value`. */
function nice(value, rounds) {
  const round = rounds.find((each) => each >= value);
  if (round) return round;
  if (value <= 1) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * size).find((each) => each >= value);
}

const LANE = 58, LEFT = 84, RIGHT = 14, HEAD = 8, FOOT = 26;

/** Draw attempts below each other: steps as bars, moments as signs; `winner` is an entry id. */
export function timelineChart(timeline, winner, width) {
  const times = [
    ...timeline.spans.flatMap((span) => [Date.parse(span.start), Date.parse(span.end)]),
    ...timeline.moments.map((each) => Date.parse(each.at)),
  ].filter((ms) => !Number.isNaN(ms));
  if (!times.length) return h("p", { class: "empty" }, "The history has no events of this job.");
  const attempts = [...new Set([...timeline.spans, ...timeline.moments].map((each) => each.attempt))].sort((a, b) => a - b);
  const start = Math.min(...times), end = Math.max(...times), length = Math.max(1, end - start);
  const inner = width - LEFT - RIGHT, height = HEAD + attempts.length * LANE + FOOT;
  const x = (ms) => LEFT + ((ms - start) / length) * inner;
  const picture = s("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, class: "life", role: "img",
    "aria-label": `Timeline: ${attempts.length} attempt${attempts.length > 1 ? "s" : ""} in ${seconds(length / 1000)}, ${timeline.spans.length} steps`,
  });
  attempts.forEach((attempt, lane) => {
    const y = HEAD + lane * LANE;
    picture.append(
      s("text", { x: 0, y: y + 17, class: "lane" }, `attempt ${attempt}`),
      s("line", { x1: LEFT, x2: width - RIGHT, y1: y + 13, y2: y + 13, class: "base" }));
    timeline.spans.filter((span) => span.attempt === attempt).forEach((span, number) => {
      picture.append(step(span, number, x, y));
    });
    timeline.moments.filter((each) => each.attempt === attempt).forEach((each) => {
      picture.append(sign(each, x(Date.parse(each.at)), y + 13, each.entry_id === winner));
    });
  });
  const foot = height - 8;
  picture.append(
    s("text", { x: LEFT, y: foot, class: "tick" }, moment(start), s("title", {}, exact(start))));
  if (end > start) {
    picture.append(s("text", { x: width - RIGHT, y: foot, class: "tick", "text-anchor": "end" },
      `+ ${seconds(length / 1000)}`, s("title", {}, exact(end))));
  }
  return picture;
}

function step(span, number, x, y) {
  const left = x(Date.parse(span.start)), size = Math.max(2, x(Date.parse(span.end)) - left);
  const room = Math.floor((size - 10) / 7);
  const name = span.name.length > room ? `${span.name.slice(0, Math.max(0, room - 1))}…` : span.name;
  const took = (Date.parse(span.end) - Date.parse(span.start)) / 1000;
  return s("g", {},
    s("title", {}, `${span.name}: ${seconds(took)}`),
    s("rect", { x: left, y: y + 28, width: size, height: 20, rx: 3, class: `step step-${number % 4}` }),
    room >= 3 && s("text", { x: left + 6, y: y + 42, class: "step-name" }, name));
}

const SHAPES = {
  __proto__: null,
  queued: "M-4,-4 H4 V4 H-4 Z",
  processing: "M-4,-6 L6,0 L-4,6 Z",
  done: "M-6,0 L-2,5 L6,-5",
  failed: "M-5,-5 L5,5 M5,-5 L-5,5",
  cancelled: "M-5,0 H5",
};

function sign({ type, at, entry_id }, x, y, won) {
  return s("g", { transform: `translate(${x} ${y})`, class: `sign is-${type}${won ? " won" : ""}` },
    s("title", {}, `${type}${won ? " (won)" : ""} at ${exact(at)}, entry ${entry_id}`),
    s("circle", { r: won ? 12 : 9 }),
    s("path", { d: SHAPES[type] ?? SHAPES.queued }));
}
