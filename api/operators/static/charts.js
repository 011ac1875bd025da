// Charts over a span of time, drawn by uPlot, which all have the same time axis and the same cursor.
//
//   const charts = new Charts(visit.signal);   they are removed when the page is left
//   const chart = charts.make({ label, unit, write, series: [{ label, colour }], steps })
//   chart.node                                the element; it stays, and only its content changes
//   charts.show({ since, until, marks })      the axis of all charts, and the marks on it
//   chart.show(at, columns)                   the values: times in milliseconds, a column a series
//
// A chart shows its values at the time under the pointer, or else at the time that was chosen by a press
// or by the arrow keys. The choice stays until Escape; without one, the latest values are shown.
//
// One spike must not flatten the rest: if the highest value is far above nearly all others, the axis
// ends below it, and a mark at the top names the value. The latest values are never above the axis. A press on
// the mark shows the whole axis, and another one the short one.

import { h, put } from "./dom.js";
import { t } from "./text.js";
import { clock, moment, zoneIsUtc } from "./time.js";
import uPlot from "./vendor/uPlot.js";

const HEIGHT = 150;
const CLIPPED_ABOVE = 3; // times the value that 95 % of the values are below
const NEARLY_ALL = 0.95;
const DAY = 86_400;
/** The steps of an axis with durations, in seconds, so that its values are short. */
export const DURATIONS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, DAY, 2 * DAY, 5 * DAY, 10 * DAY, 50 * DAY];

/** Return the value at which the axis ends, and whether values are above it. */
export function topOf(columns) {
  const values = columns.flat().filter((value) => value > 0).sort((a, b) => a - b);
  const most = values.at(-1) ?? 0;
  const nearly = values[Math.max(0, Math.ceil(values.length * NEARLY_ALL) - 1)] ?? 0;
  const latest = columns.map((column) => column.findLast((value) => value !== null) ?? 0);
  const top = Math.max(nearly * 1.5, ...latest);
  return values.length >= 10 && most > CLIPPED_ABOVE * nearly && most > top
    ? { top, most, clipped: true }
    : { top: most || 1, most, clipped: false };
}

/** The charts of one page: their axis, their marks and the chosen time. */
export class Charts {
  constructor(signal) {
    this.all = [];
    this.range = [0, 1];
    this.marks = [];
    this.chosen = null; // seconds since 1970
    this.hovered = null;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.all.forEach((each) => each.draw()), { signal });
    signal.addEventListener("abort", () => this.all.forEach((each) => each.remove()));
  }

  make(options) {
    const chart = new Chart(this, options);
    this.all.push(chart);
    return chart;
  }

  show({ since, until, marks }) {
    this.range = [since / 1000, until / 1000];
    this.marks = marks;
    if (this.chosen !== null && this.chosen < this.range[0]) this.chosen = null;
  }

  /** Choose the time whose values are shown; null for the latest. */
  choose(at) {
    this.chosen = at;
    this.read();
  }

  hover(at) {
    this.hovered = at;
    this.read();
  }

  read() {
    for (const each of this.all) each.read(this.hovered ?? this.chosen);
  }
}

class Chart {
  constructor(charts, { label, unit, write, series, steps }) {
    Object.assign(this, { charts, label, unit, write, series, steps });
    this.reading = h("span", { class: "reading" });
    this.place = h("div", { class: "chart", tabindex: 0, role: "img", onkeydown: (event) => this.key(event) });
    this.note = h("p", { class: "clipped" });
    this.unitShown = h("small", {}, ` ${unit}`);
    this.whole = false; // whether the operator wants the whole axis
    this.node = h("figure", { class: "charted" },
      h("figcaption", {}, h("span", {}, label, this.unitShown), this.reading), this.place, this.note);
    this.at = [];
    this.columns = [];
    this.plot = null;
    new ResizeObserver(() => this.resize()).observe(this.place);
  }

  /** Show values; `unit` replaces the one that the chart was made with. */
  show(times, values, unit = this.unit) {
    if (this.unitShown.textContent !== ` ${unit}`) this.unitShown.textContent = ` ${unit}`;
    const { at, columns } = withGaps(times, values);
    this.at = at.map((ms) => ms / 1000);
    this.columns = columns;
    this.rescale();
    this.place.setAttribute("aria-label", this.summary());
    this.draw();
    this.read(this.charts.hovered ?? this.charts.chosen);
  }

  rescale() {
    const found = topOf(this.columns);
    this.scale = this.whole && found.clipped ? { ...found, top: found.most, clipped: false } : found;
    const text = t(this.scale.clipped ? "charts.clipped" : "charts.whole", { value: this.write(found.most) });
    if (!found.clipped) this.note.replaceChildren();
    else put(this.note, h("button", { type: "button", "data-key": "axis", "aria-pressed": String(this.whole), onclick: () => {
      this.whole = !this.whole;
      this.rescale();
      this.draw();
    } }, text));
  }

  summary() {
    if (!this.at.length) return t("charts.none", { label: this.label });
    const last = this.columns.map((column) => this.write(column.findLast((value) => value !== null) ?? null)).join(", ");
    return t("charts.summary", { label: this.label, last, most: this.write(this.scale.most) });
  }

  /** Draw the chart, anew if its colours or its size changed. */
  draw() {
    const width = Math.floor(this.place.clientWidth);
    if (!this.scale || width === 0) return; // not on the page yet
    if (this.plot !== null) this.plot.destroy();
    this.plot = new uPlot(this.options(width), [this.at, ...this.columns], this.place);
    this.mark();
  }

  /** Remove the plot, which uPlot keeps in memory until then. */
  remove() {
    this.plot?.destroy();
    this.plot = null;
  }

  resize() {
    if (this.plot === null) this.draw();
    else if (this.plot.width !== this.place.clientWidth) this.plot.setSize({ width: this.place.clientWidth, height: HEIGHT });
  }

  options(width) {
    const style = getComputedStyle(this.place), colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("soft"), font: `12px ${style.fontFamily}`, ticks: { show: false } };
    const [since, until] = this.charts.range, isDay = until - since >= DAY;
    return {
      width, height: HEIGHT, padding: [12, 8, 0, 0], legend: { show: false },
      tzDate: (seconds) => (zoneIsUtc() ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
      scales: { x: { range: () => this.charts.range }, y: { range: () => [0, this.scale.top] } },
      axes: [
        { ...axis, grid: { show: false }, size: 24, values: (_plot, splits) => splits.map((each) => clock(each * 1000, isDay && isMidnight(each))) },
        { ...axis, grid: { stroke: colour("rule"), width: 1 }, size: 70, ...(this.steps && { incrs: this.steps }), values: (_plot, splits) => splits.map((each) => this.write(each)) },
      ],
      series: [{}, ...this.series.map((each) => ({
        label: each.label, stroke: colour(each.colour), width: 1.6, dash: each.dash, points: { show: false }, spanGaps: false,
      }))],
      cursor: { y: false, points: { size: 6 }, drag: { setScale: false, x: false, y: false } },
      hooks: {
        ready: [(plot) => this.listen(plot)],
        draw: [(plot) => this.drawMarks(plot, colour)],
      },
    };
  }

  /** Draw what happened to the deployment, and the values above the axis. */
  drawMarks(plot, colour) {
    const { ctx, bbox } = plot, unit = devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = colour("soft");
    ctx.setLineDash([3 * unit, 3 * unit]);
    ctx.lineWidth = unit;
    for (const { at } of this.charts.marks) {
      const x = Math.round(plot.valToPos(at / 1000, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.fillStyle = colour("bad");
    for (const column of this.scale.clipped ? this.columns : []) {
      column.forEach((value, index) => value > this.scale.top && drawPeak(ctx, plot.valToPos(this.at[index], "x", true), bbox.top, unit));
    }
    ctx.restore();
  }

  listen(plot) {
    const under = (event) => this.at[plot.posToIdx(event.offsetX)] ?? null;
    plot.over.addEventListener("pointermove", (event) => this.charts.hover(under(event)));
    plot.over.addEventListener("pointerleave", () => this.charts.hover(null));
    plot.over.addEventListener("click", (event) => this.charts.choose(under(event)));
  }

  key(event) {
    const step = { __proto__: null, ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape" && this.charts.chosen !== null) this.charts.choose(null);
    else if (step === undefined || !this.at.length) return;
    else {
      const { chosen } = this.charts, last = this.at.length - 1;
      const index = chosen === null ? last : nearest(this.at, chosen) + step;
      this.charts.choose(this.at[Math.min(last, Math.max(0, index))]);
    }
    event.preventDefault();
  }

  /** Show the values at a time; the latest without one. */
  read(at) {
    const index = at === null ? this.at.length - 1 : nearest(this.at, at);
    const values = this.series.map((each, number) => {
      const value = this.write(this.columns[number]?.[index] ?? null);
      return this.series.length > 1
        ? h("span", {}, h("i", { class: `key key-${each.colour}` }), `${each.label} `, h("b", {}, value))
        : h("b", {}, value);
    });
    const time = index < 0 ? "" : at === null ? t("charts.latest") : moment(this.at[index] * 1000);
    this.reading.replaceChildren(...values, h("small", {}, time));
    this.index = at === null ? null : index;
    this.mark();
  }

  /** Move the cursor of the chart to the time that is shown. */
  mark() {
    if (this.plot === null || this.plot.over.matches(":hover")) return;
    const left = this.index === null || this.index < 0 ? -10 : this.plot.valToPos(this.at[this.index], "x");
    this.plot.setCursor({ left, top: 0 }, false);
  }
}

/** Return the values with an empty one where none were measured for long, so that no line is drawn there. */
function withGaps(at, columns) {
  const steps = at.slice(1).map((each, index) => each - at[index]).sort((a, b) => a - b);
  const most = 3 * (steps[Math.floor(steps.length / 2)] ?? 0), gaps = [];
  for (let index = at.length - 1; index > 0; index -= 1) if (at[index] - at[index - 1] > most) gaps.push(index);
  if (!gaps.length) return { at, columns };
  const result = { at: [...at], columns: columns.map((column) => [...column]) };
  for (const index of gaps) {
    result.at.splice(index, 0, (at[index] + at[index - 1]) / 2);
    result.columns.forEach((column) => column.splice(index, 0, null));
  }
  return result;
}

function drawPeak(ctx, x, top, unit) {
  ctx.beginPath();
  ctx.moveTo(x, top - 8 * unit);
  ctx.lineTo(x + 4 * unit, top - unit);
  ctx.lineTo(x - 4 * unit, top - unit);
  ctx.fill();
}

function isMidnight(seconds) {
  const at = new Date(seconds * 1000);
  return zoneIsUtc() ? at.getUTCHours() + at.getUTCMinutes() === 0 : at.getHours() + at.getMinutes() === 0;
}

function nearest(times, at) {
  return times.reduce((best, each, index) => (Math.abs(each - at) < Math.abs(times[best] - at) ? index : best), 0);
}
