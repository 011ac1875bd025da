// The formats of numbers, times and sizes.

import { h } from "./dom.js";
import { serverNow } from "./http.js";

const integer = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", {
  day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const precise = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3, timeZoneName: "longOffset",
});

export function count(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 100_000 ? compact.format(value) : integer.format(Math.round(value));
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? count(value) : String(Number(value.toFixed(value >= 10 ? 1 : 2)));
}

/** Format seconds: 0.4 s, 12 s, 3 min 20 s, 5 h 10 min, 2 d 3 h. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10 && value !== Math.round(value)) return `${value.toFixed(1)} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let rest = Math.round(value);
  const words = [];
  for (const [size, unit] of parts) {
    if (rest >= size || (unit === "s" && !words.length)) words.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return words.slice(0, 2).join(" ");
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  return value < 1048576 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / 1048576).toFixed(1)} MiB`;
}

export function moment(value) {
  return clock.format(new Date(value));
}

/** Format a time with milliseconds and time zone. */
export function exact(value) {
  return precise.format(new Date(value));
}

/** Make an element with the time since `value` (milliseconds or RFC 3339), which is kept up to date. */
export function ago(value) {
  if (value === null || value === undefined) return "–";
  const at = new Date(value);
  if (Number.isNaN(at.getTime())) return String(value);
  const node = h("time", { datetime: at.toISOString(), title: exact(at), class: "ago" });
  updateAge(node);
  return node;
}

function updateAge(node) {
  const past = (serverNow() - Date.parse(node.dateTime)) / 1000;
  node.textContent = past < -1 ? moment(node.dateTime) : `${seconds(Math.max(0, Math.floor(past)))} ago`;
}

setInterval(() => {
  if (!document.hidden) document.querySelectorAll("time.ago").forEach(updateAge);
}, 5000);

// Tables that are indexed with data have no prototype, so that "constructor" is not found in them.
const WORDS = { __proto__: null, queued: "queued", processing: "processing", done: "done", failed: "failed", cancelled: "cancelled" };

export function badge(state, word) {
  return h("span", { class: `badge is-${WORDS[state] ?? "other"}` }, word ?? state);
}

/** Make a progress bar with its percentage and step. */
export function bar(progress) {
  if (!progress) return "";
  const percent = typeof progress.percent === "number" ? progress.percent : null;
  const name = progress.step_name_display ?? progress.step_name ?? progress.step;
  const steps = progress.step_total ? ` ${progress.step_index ?? "?"}/${progress.step_total}` : "";
  return h("span", { class: "bar" },
    percent !== null && h("progress", { value: percent, max: 100, "aria-label": "progress" }),
    h("span", {}, percent === null ? "" : `${Math.round(percent)} % `, name ? `${name}${steps}` : ""));
}

/** Return the address of a job's page. */
export function jobHref(job) {
  return `#/jobs/${[job.tenant, job.kind, job.id].map(encodeURIComponent).join("/")}`;
}

/** Indent JSON without parsing its numbers, which may exceed the precision of JavaScript. */
export function pretty(text) {
  let out = "", depth = 0, quoted = false;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (let at = 0; at < text.length; at += 1) {
    const each = text[at];
    if (quoted) {
      out += each;
      if (each === "\\") out += text[(at += 1)] ?? "";
      else if (each === '"') quoted = false;
    } else if (each === '"') {
      quoted = true;
      out += each;
    } else if (each === "{" || each === "[") {
      const next = /\S/.exec(text.slice(at + 1, at + 100))?.[0];
      if (next === "}" || next === "]") {
        out += each + next;
        at = text.indexOf(next, at + 1);
      } else {
        depth += 1;
        out += each + line();
      }
    } else if (each === "}" || each === "]") {
      depth -= 1;
      out += line() + each;
    } else if (each === ",") out += each + line();
    else if (each === ":") out += ": ";
    else if (!/\s/.test(each)) out += each;
  }
  return out;
}
