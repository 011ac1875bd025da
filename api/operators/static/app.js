// The console's frame: who is signed in, which page is shown, and keeping it fresh.

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
const LAST_PAUSE = 30_000;

const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const warning = h("p", { class: "note bad", role: "alert" });
let leave = () => {};
let fresh = 0; // when the page was last drawn from an answer

/** What a page is given: where to put itself, its parameters, and a way to stay fresh. */
class Visit {
  constructor(parts, query) {
    this.main = main;
    this.parts = parts;
    this.query = query;
    this.over = new AbortController();
  }

  get signal() {
    return this.over.signal;
  }

  /** Call `work` now and every so many milliseconds while the page is seen; it stops by itself. */
  live(work, every) {
    let pause = every, timer = 0, busy = false;
    const turn = async () => {
      if (busy || this.signal.aborted) return;
      busy = true;
      clearTimeout(timer);
      try {
        if (!marking()) {
          await work();
          say("live");
        } else if (!warning.isConnected) say("paused", "Held while text is marked");
        pause = every;
      } catch (error) {
        if (this.signal.aborted) return;
        pause = Math.min(pause * 2, LAST_PAUSE);
        if (!this.failed(error)) return;
      } finally {
        busy = false;
      }
      if (!document.hidden && !this.signal.aborted) timer = setTimeout(turn, pause);
    };
    const seen = () => (document.hidden ? (clearTimeout(timer), say("paused")) : turn());
    document.addEventListener("visibilitychange", seen, { signal: this.signal });
    this.signal.addEventListener("abort", () => clearTimeout(timer));
    this.refresh = turn;
    return turn();
  }

  /** Show what went wrong; gives whether to try again. */
  failed(error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 || error.status === 403) {
      askForToken(error.message);
      return false;
    }
    const final = error.status === 400 || error.status === 404;
    if (!main.querySelector("h1")) put(main, h("h1", {}, final ? "Not found" : "No answer"));
    say(final ? "over" : "broken", null, error.message);
    return !final;
  }
}

/** Say how fresh the page is, and above it what is wrong: what stands below is from before. */
function say(state, words, trouble) {
  pulse.className = `pulse ${state}`;
  const text = words ?? { live: "Live", paused: "Paused", broken: "Trying again", over: "Not found" }[state];
  if (pulse.textContent !== text) pulse.textContent = text;
  if (state === "live") fresh = Date.now();
  document.title = document.title.replace(/^\? /, "");
  if (trouble) warn(fresh ? `${trouble} What is shown is of ${moment(fresh)}.` : trouble);
  else warning.remove();
}

function warn(words) {
  if (warning.textContent !== words) warning.textContent = words;
  if (!warning.isConnected) main.querySelector("h1").after(warning);
  document.title = document.title.replace(/^([✓!✕] )?/, "? ");
}

/** Whether somebody has marked text on the page, to copy it: a new draft would take it away. */
function marking() {
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
  leave = () => visit.over.abort();
  const page = PAGES.find((each) => each.at === (parts[0] ?? ""));
  navigation(page?.at);
  document.title = `${page?.name ?? "Nothing here"} · jobtrail`;
  main.replaceChildren();
  fresh = 0;
  try {
    visit.session = await get("session/", { signal: visit.signal });
    if (!page) put(main, h("h1", {}, "Nothing here"), h("p", {}, h("a", { href: "#/" }, "To the overview")));
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

function askForToken(words) {
  leave();
  say("over", "Signed out");
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
      ? h("p", { role: "alert", class: "note bad" }, words)
      : h("p", { class: "hint" }, "The console is for operators."),
    h("label", { for: "token" }, "Access token with the scope “ops”"),
    given,
    h("p", { class: "hint" }, "It stays in this tab and is gone when the tab is closed."),
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
