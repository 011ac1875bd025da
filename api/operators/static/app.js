// The frame of the console: sign-in, navigation, and refreshing of the current page.

import { h, put } from "./dom.js";
import { moment } from "./format.js";
import { Refused, get, signIn, signOut, signedIn } from "./http.js";
import { dead, letter } from "./view_dead.js";
import { job } from "./view_job.js";
import { jobs, stalled } from "./view_jobs.js";
import { overview, tenants } from "./view_overview.js";

const PAGES = [
  { name: "Overview", at: "", show: overview },
  { name: "Jobs", at: "jobs", show: jobs },
  { name: "Stalled", at: "stalled", show: stalled },
  { name: "Dead letters", at: "dead", show: dead },
  { name: "Tenants", at: "tenants", show: tenants },
];
const MAX_PAUSE = 30_000; // milliseconds

const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const warning = h("p", { class: "note bad", role: "alert" });
let leave = () => {};
let updatedAt = 0; // when the page was last updated, in milliseconds since 1970

/** One visit of a page: its element, its parameters and its refreshing. */
class Visit {
  constructor(parts, query) {
    this.main = main;
    this.parts = parts;
    this.query = query;
    this.controller = new AbortController();
  }

  get signal() {
    return this.controller.signal;
  }

  /** Call `work` now and every `every` milliseconds, while the page is visible and until it is left. */
  live(work, every) {
    let pause = every, timer = 0, busy = false;
    const update = async () => {
      if (busy || this.signal.aborted) return;
      busy = true;
      clearTimeout(timer);
      try {
        if (!isSelecting()) {
          await work();
          setStatus("live");
        } else if (!warning.isConnected) setStatus("paused", "Paused while text is selected");
        pause = every;
      } catch (error) {
        if (this.signal.aborted) return;
        pause = Math.min(pause * 2, MAX_PAUSE);
        if (!this.failed(error)) return;
      } finally {
        busy = false;
      }
      if (!document.hidden && !this.signal.aborted) timer = setTimeout(update, pause);
    };
    const onVisibilityChange = () => (document.hidden ? (clearTimeout(timer), setStatus("paused")) : update());
    document.addEventListener("visibilitychange", onVisibilityChange, { signal: this.signal });
    this.signal.addEventListener("abort", () => clearTimeout(timer));
    this.refresh = update;
    return update();
  }

  /** Show an error; return whether to try again. */
  failed(error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 || error.status === 403) {
      askForToken(error.message);
      return false;
    }
    const final = error.status === 400 || error.status === 404;
    if (!main.querySelector("h1")) put(main, h("h1", {}, final ? "Not found" : "Unavailable"));
    setStatus(final ? "over" : "broken", null, error.message);
    return !final;
  }
}

/** Show the status of the page, and a warning if its data is out of date. */
function setStatus(state, text, warningText) {
  pulse.className = `pulse ${state}`;
  const label = text ?? { live: "Live", paused: "Paused", broken: "Retrying", over: "Not found" }[state];
  if (pulse.textContent !== label) pulse.textContent = label;
  if (state === "live") updatedAt = Date.now();
  document.title = document.title.replace(/^\? /, "");
  if (warningText) warn(updatedAt ? `${warningText} Last updated ${moment(updatedAt)}.` : warningText);
  else warning.remove();
}

function warn(text) {
  if (warning.textContent !== text) warning.textContent = text;
  if (!warning.isConnected) main.querySelector("h1").after(warning);
  document.title = document.title.replace(/^([✓!✕] )?/, "? ");
}

/** Return whether text on the page is selected, which an update of the page would undo. */
function isSelecting() {
  const selection = document.getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

function navigation(current) {
  const links = PAGES.map((page) =>
    h("a", { href: `#/${page.at}`, "aria-current": page.at === current && "page" }, page.name));
  const out = signedIn() && h("button", { type: "button", class: "out", onclick: () => {
    signOut();
    show();
  } }, "Sign out");
  put(document.getElementById("nav"), links, out);
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

async function show() {
  leave();
  const [where, search] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = where.split("/").map(decode).filter((part) => part !== "");
  const visit = new Visit(parts, new URLSearchParams(search ?? ""));
  leave = () => visit.controller.abort();
  const page = PAGES.find((each) => each.at === (parts[0] ?? ""));
  navigation(page?.at);
  document.title = `${page?.name ?? "Not found"} · jobtrail`;
  main.replaceChildren();
  updatedAt = 0;
  try {
    visit.session = await get("session/", { signal: visit.signal });
    if (!page) put(main, h("h1", {}, "Not found"), h("p", {}, h("a", { href: "#/" }, "Go to the overview")));
    else if (page.at === "jobs" && parts.length === 4) await job(visit);
    else if (page.at === "dead" && parts.length === 3) await letter(visit);
    else await page.show(visit);
  } catch (error) {
    if (!visit.signal.aborted && visit.failed(error)) setTimeout(() => visit.signal.aborted || show(), 3000);
  }
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function askForToken(message) {
  leave();
  setStatus("over", "Signed out");
  document.querySelector("nav .out")?.remove();
  const given = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = h("form", { class: "panel sign-in", onsubmit: (event) => {
    event.preventDefault();
    signIn(given.value.trim());
    given.value = "";
    show();
  } },
    h("h1", {}, "Sign in"),
    signedIn()
      ? h("p", { role: "alert", class: "note bad" }, message)
      : h("p", { class: "hint" }, "The console is for operators."),
    h("label", { for: "token" }, "Access token with the scope “ops”"),
    given,
    h("p", { class: "hint" }, "The token is kept in this tab until the tab is closed."),
    h("button", { type: "submit", class: "primary" }, "Sign in"));
  put(main, form);
  given.focus();
}

window.addEventListener("hashchange", () => {
  show();
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
show();
