// The formats of numbers, sizes, states and progress. Those of times are in time.js.

import { h } from "./dom.js";
import { language, locale, t } from "./text.js";

export { exact, moment, seconds, when as ago } from "./time.js";

const integer = new Intl.NumberFormat(locale);
const compact = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
export function count(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 100_000 ? compact.format(value) : integer.format(Math.round(value));
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? count(value) : String(Number(value.toFixed(value >= 10 ? 1 : 2)));
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1024) return `${value} B`;
  return value < 1048576 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / 1048576).toFixed(1)} MiB`;
}

export function percent(value) {
  return t("state.percent", { n: String(value) });
}

/** The types of events that end a job, and its states after them. */
export const ENDS = ["done", "failed", "cancelled"];

// Tables that are indexed with data have no prototype, so that "constructor" is not found in them.
const WORDS = { __proto__: null, queued: "queued", processing: "processing", done: "done", failed: "failed", cancelled: "cancelled" };

export function badge(state, word) {
  return h("span", { class: `badge is-${WORDS[state] ?? "other"}`, translate: "no" }, word ?? state);
}

/** Return the word for a job's state; in English it is the status that clients see, such as READY. */
export function stateWord(state, status) {
  return language !== "en" && state in WORDS ? t(`state.${state}`) : status ?? state;
}

/** Make the badge of a job's state, with the status that clients see. */
export function stateBadge(state, status) {
  const node = badge(state, stateWord(state, status));
  if (status && node.textContent !== status) node.title = status;
  return node;
}

/** Return the step in a progress: its name for people, its number, their number, and its own percent. */
export function stepOf(progress) {
  const percent = progress?.step_percent;
  return {
    name: progress?.step_name_display ?? progress?.step_name ?? progress?.step ?? null,
    index: progress?.step_index ?? null,
    total: progress?.step_total ?? null,
    percent: typeof percent === "number" ? Math.round(percent) : null,
  };
}

/** Make a progress bar with its percentage and step. */
export function bar(progress) {
  if (!progress) return "";
  const share = typeof progress.percent === "number" ? progress.percent : null;
  const { name, index, total } = stepOf(progress);
  const step = name && total ? t("state.step", { name, index: String(index ?? "?"), total: String(total) }) : name;
  return h("span", { class: "bar" },
    share !== null && h("progress", { value: share, max: 100, "aria-label": t("state.progressBar") }),
    h("span", { translate: "no" }, [share === null ? "" : percent(Math.round(share)), step].filter(Boolean).join(" ")));
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
