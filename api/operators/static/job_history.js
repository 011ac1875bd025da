// The history of a job as a table, and the job as it was after some of its events.

import { copyButton } from "./copy.js";
import { h, put } from "./dom.js";
import { bar, bytes, percent, pretty, stateBadge } from "./format.js";
import { get } from "./http.js";
import { t } from "./text.js";
import { exact, when } from "./time.js";

const PAGE = 50; // events
const MAX_PAST = 2_000; // events that the server folds
const TYPING = 150; // milliseconds without a movement of the slider, before its state is loaded

/** Make the panel of the history, which is loaded when it is opened. */
export function history(visit, where) {
  const rows = h("tbody"), more = h("p", { class: "pages" });
  const titles = ["time", "event", "attempt", "says", "raw"].map((name) => t(`job.${name}`));
  let asked = 0; // the number of the last request: answers to earlier ones are not added
  const load = async (cursor) => {
    const number = (asked += 1);
    const facts = await get(`${where}history/?limit=${PAGE}${cursor ? `&cursor=${cursor}` : ""}`, { signal: visit.signal });
    if (number !== asked) return;
    rows.append(...facts.items.map((item) => row(item, titles)));
    put(more, facts.next_cursor && h("button", { type: "button", onclick: () => load(facts.next_cursor).catch((error) => visit.failed(error)) }, t("job.moreEvents")));
  };
  const box = h("details", { class: "panel", "data-key": "history" }, h("summary", {}, h("h2", {}, t("job.history"))),
    h("div", { class: "scroll" }, h("table", {},
      h("caption", { class: "unseen" }, t("job.historyCaption")),
      h("thead", {}, h("tr", {}, titles.map((each) => h("th", { scope: "col" }, each)))),
      rows)), more);
  box.addEventListener("toggle", () => {
    if (!box.open) return;
    rows.replaceChildren();
    load().catch((error) => visit.failed(error));
  });
  return box;
}

function row({ entry_id, event: text, appended }, titles) {
  const event = parsed(text), [time, what, attempt, says, raw] = titles;
  return h("tr", {},
    h("td", { "data-label": time }, when(Number(entry_id.split("-")[0]))),
    h("td", { "data-label": what }, h("strong", { translate: "no" }, event.type), appended > 1 && h("small", {}, ` ${t("job.appended", { count: appended })}`)),
    h("td", { "data-label": attempt, class: "num" }, String(event.attempt ?? 1)),
    h("td", { "data-label": says, class: "wide", translate: "no" }, sayings(event)),
    h("td", { "data-label": raw },
      h("details", {}, h("summary", { translate: "no" }, entry_id),
        h("pre", { class: "event", tabindex: "0", translate: "no" }, pretty(text)), copyButton(text, t("job.event")))));
}

function parsed(text) {
  try {
    const event = JSON.parse(text);
    return event !== null && typeof event === "object" ? event : {};
  } catch {
    return {};
  }
}

/** Return what an event says, in short. */
function sayings(event) {
  const step = event.step_name_display ?? event.step_name ?? event.step;
  const known = [
    event.percent !== undefined && event.percent !== null && percent(event.percent),
    step && (event.step_total ? t("state.step", { name: step, index: String(event.step_index ?? "?"), total: String(event.step_total) }) : step),
    event.code, event.error, event.operator_detail, event.reason,
    event.result && t("job.resultOf", { size: bytes(JSON.stringify(event.result).length) }),
    event.type !== "progress" && event.worker,
    event.type === "queued" && event.job_type,
  ];
  return known.filter(Boolean).map((each) => h("span", { class: "saying" }, String(each)));
}

/** Make the panel that shows the job after some of its events, as its clients saw it; null without events. */
export function past(visit, where, count) {
  if (count === 0) return null;
  const total = Math.min(count, MAX_PAST);
  const body = h("div", { "aria-live": "polite" }), label = h("output", { for: "past-events" });
  const slider = h("input", { id: "past-events", type: "range", min: "1", max: String(total), value: String(total), "aria-label": t("job.asItWasLabel") });
  let timer, shown;
  const load = async () => {
    const wanted = slider.value;
    if (wanted === shown) return;
    const facts = await get(`${where}past/?events=${wanted}`, { signal: visit.signal });
    if (wanted !== slider.value) return;
    shown = wanted;
    put(body, pastState(facts));
  };
  const show = () => {
    label.textContent = t("job.afterEvents", { n: slider.value, total: String(total) });
    slider.setAttribute("aria-valuetext", label.textContent);
    clearTimeout(timer);
    timer = setTimeout(() => load().catch((error) => visit.failed(error)), TYPING);
  };
  slider.addEventListener("input", show);
  const move = (by) => {
    slider.value = String(Number(slider.value) + by);
    show();
  };
  const button = (by, text, name) => h("button", { type: "button", "aria-label": t(name), onclick: () => move(by) }, text);
  const box = h("details", { class: "panel", "data-key": "past" }, h("summary", {}, h("h2", {}, t("job.asItWas"))),
    h("p", { class: "hint" }, t(count > MAX_PAST ? "job.asItWasHintMany" : "job.asItWasHint", { count: MAX_PAST })),
    h("p", { class: "slide" }, button(-1, "‹", "job.earlier"), slider, button(1, "›", "job.later")),
    h("p", { class: "hint" }, label),
    body);
  box.addEventListener("toggle", () => box.open && show());
  return box;
}

function pastState({ at, type, state, won, answer }) {
  const text = JSON.stringify(answer, null, 2);
  return [
    h("p", { class: "state" }, h("span", {}, t("job.asItWasAt", { time: exact(at) })), stateBadge(state, answer?.status),
      state === "processing" && bar(answer?.progress)),
    h("p", { class: "hint" }, t(won ? "job.eventWon" : "job.eventLost", { type })),
    h("div", { class: "copied" }, copyButton(text, t("job.answer")), h("pre", { tabindex: "0", translate: "no" }, text)),
  ];
}

/** Make the panel of a job's children, which are looked for when it is opened. */
export function children(visit, tenant, id, since, list) {
  const body = h("div");
  const query = new URLSearchParams({ tenant, "label.parent": id, ...(since ? { since } : {}) });
  const box = h("details", { class: "panel", "data-key": "children" }, h("summary", {}, h("h2", {}, t("job.children"))),
    h("p", { class: "hint" }, t("job.childrenHint")), body);
  box.addEventListener("toggle", async () => {
    if (!box.open) return;
    try {
      const facts = await get(`jobs/?${query}`, { signal: visit.signal });
      put(body, list(facts.items, t("job.noChildren")), facts.next_cursor && h("p", { class: "pages" }, h("a", { href: `#/jobs?${query}` }, t("jobs.continue"))));
    } catch (error) {
      visit.failed(error);
    }
  });
  return box;
}
