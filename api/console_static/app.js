// The console's frame: who is signed in, which page is shown, and keeping it fresh.

import { h, put } from "./dom.js";
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
let leave = () => {};

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
        await work();
        pause = every;
        say("live");
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
    say("broken", error.message);
    if (!main.querySelector("h1")) put(main, h("h1", {}, "Not to be had"), h("p", { class: "note bad" }, error.message));
    return error.status !== 400 && error.status !== 404;
  }
}

function say(state, words) {
  pulse.className = `pulse ${state}`;
  const text = words ?? { live: "Live", paused: "Paused", broken: "Trying again" }[state];
  if (pulse.textContent !== text) pulse.textContent = text;
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
  try {
    await get("session/", { signal: visit.signal });
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
  say("broken", "Signed out");
  const given = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = h("form", { class: "panel sign-in", onsubmit: (event) => {
    event.preventDefault();
    signIn(given.value.trim());
    given.value = "";
    show();
  } },
    h("h1", {}, "Sign in"),
    h("p", { role: "alert", class: "note bad" }, signedIn() ? words : "The console is for operators."),
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
