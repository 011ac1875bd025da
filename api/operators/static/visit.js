// One visit of a page: its refreshing, its status and its warnings.
//
//   await visit.load("jobs/?…", (facts) => put(body, …), 5_000)   draws the last answer to the path at once,
//                                                               if there is one, then each new answer
//   await visit.live(async () => { … }, 5_000)                  the same for any work
//
// `visit.signal` is aborted when the page is left. No work is done on its own while the tab is hidden, the
// operator has paused, or text on the page is selected. `visit.refresh()` is for what the operator has just
// chosen or done: the work is done in any case, now or as soon as work that has begun is over.

import { h, put } from "./dom.js";
import { Refused, get, lastAnswer } from "./http.js";
import { t } from "./text.js";
import { moment } from "./time.js";

/** The most rows of a list on a phone. */
export const PHONE_LIMIT = 25;
const MAX_PAUSE = 30_000; // milliseconds
const ON_PHONE = matchMedia("(max-width: 52rem)");

const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const warning = h("p", { class: "note bad", role: "alert" });
let updatedAt = 0; // when the page was last updated, in milliseconds since 1970
let paused = false;

export class Visit {
  constructor(parts, query, onRefused) {
    this.main = main;
    this.parts = parts;
    this.query = query;
    this.isReturn = false; // whether the operator has come back to where they were
    this.onRefused = onRefused;
    this.controller = new AbortController();
    updatedAt = 0;
  }

  get signal() {
    return this.controller.signal;
  }

  /**
   * Draw the last answer to a path, then each one that differs, until the page is left. The second argument of
   * `draw` is whether a list may change its rows: not while it is looked at, nor when the operator has gone back.
   * `also` is further work to do at the same times.
   */
  async load(path, draw, every, also = () => {}) {
    let current = lastAnswer(path), isFirst = !this.isReturn;
    if (current) draw(current, true);
    await this.live(async () => {
      const rest = Promise.resolve(also());
      rest.catch(() => {}); // it is awaited below, unless the answer to the path fails first
      const facts = await get(path, { signal: this.signal });
      if (facts !== current) draw(facts, isFirst);
      current = facts;
      isFirst = false;
      await rest;
    }, every);
  }

  /** Call `work` now and every `every` milliseconds (or a function of them), while the page is visible and until it is left. */
  live(work, every) {
    const usual = typeof every === "function" ? every : () => every;
    let pause = usual(), timer = 0, busy = false, asked = true; // asked: the operator waits for an answer
    const update = async () => {
      if (busy || this.signal.aborted) return;
      const wasAsked = asked;
      clearTimeout(timer);
      busy = true;
      asked = false; // before the work, whose answer may not have what is asked for meanwhile
      try {
        if (paused && !wasAsked) setStatus("paused");
        else if (wasAsked || !isSelecting()) {
          await work();
          updatedAt = Date.now();
          setStatus(paused || document.hidden ? "paused" : "live");
        } else if (!warning.isConnected) setStatus("paused", t("shell.pausedSelecting"));
        pause = asked ? 0 : usual();
      } catch (error) {
        if (this.signal.aborted) return;
        asked ||= wasAsked;
        pause = Math.min((pause || usual()) * 2, MAX_PAUSE);
        if (!this.failed(error)) return;
      } finally {
        busy = false;
      }
      if (!document.hidden && (!paused || asked) && !this.signal.aborted) timer = setTimeout(update, pause);
    };
    const refresh = () => {
      asked = true;
      return update();
    };
    const onVisibilityChange = () => {
      if (!document.hidden) return update();
      clearTimeout(timer);
      if (!busy) setStatus("paused"); // else at the end of the work, after its last request
      return undefined;
    };
    document.addEventListener("visibilitychange", onVisibilityChange, { signal: this.signal });
    document.addEventListener("pausechange", () => (paused ? update() : refresh()), { signal: this.signal });
    this.signal.addEventListener("abort", () => clearTimeout(timer));
    this.refresh = refresh;
    return update();
  }

  /** Show an error, unless the page was left; return whether to try again. */
  failed(error) {
    if (this.signal.aborted) return false;
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 || error.status === 403) {
      this.onRefused(error.message);
      return false;
    }
    const title = { __proto__: null, 400: "shell.notValid", 404: "shell.notFound" }[error.status];
    // A page that cannot be shown has no title of its own; another keeps what it has: at least its frame.
    if (title ? main.querySelector(":scope > .skeleton") : !main.querySelector("h1")) put(main, h("h1", {}, t(title ?? "shell.unavailable")));
    if (title) main.querySelector(".skeleton")?.remove();
    setStatus(title ? "over" : "broken", title && t(title), error.message);
    return !title;
  }
}

/** Go to an address of the console; if the operator is there already, load its page anew. */
export function goTo(href) {
  if (location.hash === href) document.dispatchEvent(new Event("visitagain"));
  else location.hash = href;
}

export function onPhone() {
  return ON_PHONE.matches;
}

export function isPaused() {
  return paused;
}

/** Pause or resume the refreshing of all pages. */
export function setPaused(value) {
  paused = value;
  document.dispatchEvent(new Event("pausechange"));
}

/** Make a placeholder for data that is being loaded. */
export function skeleton() {
  return h("div", { class: "skeleton", "aria-hidden": "true" }, Array.from({ length: 6 }, () => h("div", { class: "line" })));
}

/** Show the title of a page and its frame while its data is loaded. */
export function showFrame(title, isData) {
  put(main, h("h1", isData ? { class: "id", translate: "no" } : {}, title), skeleton());
  setStatus("loading");
}

let lateText = ""; // what is late on pages that show jobs
const late = h("p", { class: "note warn late", role: "status" });

/** Set the text that says that jobs are late; empty if they are not. */
export function setLate(text) {
  lateText = text;
  showLate();
}

function showLate() {
  const title = main.querySelector("h1"), isOfJobs = document.querySelector("nav [aria-current]:not([href='#/dead'], [href='#/audit'], [href='#/issues'], [href='#/help'])");
  if (!lateText || !title || !isOfJobs) return late.remove();
  if (late.textContent !== lateText) late.textContent = lateText;
  if (!late.isConnected) (title.closest(".headline") ?? title).after(late);
  return undefined;
}

const LABELS = {
  __proto__: null,
  live: "shell.live", paused: "shell.paused", broken: "shell.retrying", over: "shell.notFound", loading: "shell.loading",
};

/** Show the status of the page, and a warning if its data is out of date. */
export function setStatus(state, text, warningText) {
  pulse.className = `pulse ${state}`;
  const label = text ?? t(LABELS[state]);
  if (pulse.textContent !== label) pulse.textContent = label;
  document.title = document.title.replace(/^(\(\d+\) )?\? /, "$1");
  if (state === "live") showLate();
  if (warningText) warn(updatedAt ? t("shell.lastUpdated", { warning: warningText, time: moment(updatedAt) }) : warningText);
  else warning.remove();
}

function warn(text) {
  if (warning.textContent !== text) warning.textContent = text;
  if (!warning.isConnected) main.querySelector("h1").after(warning);
  document.title = document.title.replace(/^(\(\d+\) )?([✓!✕?] )?/, "$1? ");
}

/** Return whether text on the page is selected, which an update of the page would undo. */
function isSelecting() {
  const selection = document.getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}
