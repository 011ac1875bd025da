// The frame of the console: sign-in, navigation, and the way from an address to a page.

import { startDeployment, stopDeployment } from "./deployment.js";
import { h, put } from "./dom.js";
import { finder } from "./find.js";
import { currentToken, get, noteSignOut, signIn, signOut, signedIn, signedOutElsewhere } from "./http.js";
import { startKeys } from "./keys.js";
import { settings } from "./settings.js";
import { askOtherTabs, signOutOthers, startSharing } from "./shared_token.js";
import { t } from "./text.js";
import { audit } from "./view_audit.js";
import { dead, letter } from "./view_dead.js";
import { help, helpTopic } from "./view_help.js";
import { issues } from "./view_issues.js";
import { job } from "./view_job.js";
import { jobs, stalled } from "./view_jobs.js";
import { overview } from "./view_overview.js";
import { tenant, tenants } from "./view_tenants.js";
import { Visit, isPaused, setPaused, setStatus, showFrame } from "./visit.js";
import { startWatching } from "./watch.js";

// `item` shows one item of a page; its address has `depth` parts.
const PAGES = [
  { name: "overview", at: "", show: overview },
  { name: "jobs", at: "jobs", show: jobs, item: job, depth: 4 },
  { name: "stalled", at: "stalled", show: stalled },
  { name: "dead", at: "dead", show: dead, item: letter, depth: 3 },
  { name: "tenants", at: "tenants", show: tenants, item: tenant, depth: 2 },
  { name: "issues", at: "issues", show: issues },
  { name: "audit", at: "audit", show: audit },
  { name: "help", at: "help", show: help, item: helpTopic, depth: 2 },
];

const main = document.getElementById("main");
const places = new Map(); // where the operator was, by the entry of the browser's history
let leave = () => {};
let session = null;
let mayAsk = true; // other tabs for their token, once
let entry = 0;

function navigation(current) {
  const links = PAGES.map((page) =>
    h("a", { href: `#/${page.at}`, "aria-current": page.at === current && "page" }, t(`shell.${page.name}`)));
  const out = signedIn() && h("button", { type: "button", class: "out", onclick: () => {
    noteSignOut();
    signOutOthers();
    endSession();
  } }, t("shell.signOut"));
  put(document.getElementById("nav"), links, out);
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Sign this tab out, and ask for a token. */
function endSession() {
  signOut();
  session = null;
  mayAsk = false; // another tab may not have heard of it yet
  show();
}

async function show() {
  leave();
  const [where, search] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = where.split("/").map(decode).filter((part) => part !== "");
  const visit = new Visit(parts, new URLSearchParams(search ?? ""), askForToken);
  visit.isReturn = places.has(entry);
  leave = () => visit.controller.abort();
  const page = PAGES.find((each) => each.at === (parts[0] ?? ""));
  const name = t(page ? `shell.${page.name}` : "shell.notFound");
  const item = page?.item && parts.length === page.depth ? parts.at(-1) : null;
  navigation(page?.at);
  document.title = `${item ?? name} · jobtrail`;
  showFrame(item ?? name, item !== null);
  try {
    session ??= await get("session/", { signal: visit.signal });
    visit.session = session;
    startDeployment();
    if (!page) put(main, h("h1", {}, name), h("p", {}, h("a", { href: "#/" }, t("shell.goToOverview"))));
    else {
      const shown = (item === null ? page.show : page.item)(visit);
      comeBack(); // what was drawn from the last answer is there already
      await shown;
      comeBack();
    }
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

/** Note where the operator is, before another entry of the browser's history is shown. */
function notePlace() {
  places.set(entry, { y: scrollY, link: document.activeElement?.getAttribute("href") });
}

/** Begin at the top of a new entry of the history; of an earlier one, return to where the operator was. */
function comeBack() {
  const place = places.get(entry);
  if (!place) return;
  scrollTo(0, place.y);
  const link = place.link && main.querySelector(`a[href="${CSS.escape(place.link)}"]`);
  link?.focus({ preventScroll: true });
  if (scrollY === place.y) places.delete(entry);
}

async function askForToken(message) {
  leave();
  stopDeployment();
  session = null;
  if (!signedIn() && mayAsk) {
    mayAsk = false;
    const token = await askOtherTabs();
    if (token !== null) signIn(token);
    if (token !== null || signedIn()) return show();
  }
  showSignIn(message);
  return undefined;
}

function showSignIn(message) {
  setStatus("over", t("shell.signedOut"));
  document.querySelector("nav .out")?.remove();
  const given = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = h("form", { class: "panel sign-in", onsubmit: (event) => {
    event.preventDefault();
    signIn(given.value.trim());
    given.value = "";
    show();
  } },
    h("h1", {}, t("shell.signIn")),
    signedIn()
      ? h("p", { role: "alert", class: "note bad" }, message)
      : h("p", { class: "hint" }, t("shell.forOperators")),
    h("label", { for: "token" }, t("shell.token")),
    given,
    h("p", { class: "hint" }, t("shell.tokenKept")),
    h("button", { type: "submit", class: "primary" }, t("shell.signIn")));
  put(main, form);
  given.focus();
}

function pauseButton() {
  const button = h("button", { type: "button", class: "pause", id: "pause", onclick: () => {
    setPaused(!isPaused());
    button.replaceChildren(t(isPaused() ? "shell.resume" : "shell.pause"));
  } }, t("shell.pause"));
  return button;
}

history.scrollRestoration = "manual";
history.replaceState({ entry }, "");
window.addEventListener("hashchange", () => {
  notePlace();
  const known = history.state?.entry;
  entry = known ?? Math.max(entry, ...places.keys()) + 1;
  if (known === undefined) history.replaceState({ entry }, "");
  show();
  if (known !== undefined) return;
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
});
// A link to the address where the operator is already changes no hash: the page is loaded anew, with the newest rows.
const again = () => {
  places.delete(entry);
  show();
  window.scrollTo(0, 0);
};
document.addEventListener("visitagain", again);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='#/']");
  const isPlain = !event.defaultPrevented && !event.button && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  if (isPlain && link?.getAttribute("href") === location.hash) again();
});
const skip = document.getElementById("skip");
skip.textContent = t("shell.skip");
skip.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.getElementById("nav").setAttribute("aria-label", t("shell.navigation"));
document.getElementById("settings").append(settings(show));
document.getElementById("pulse").after(pauseButton());
document.getElementById("finder").append(finder());
startWatching(document.getElementById("watching"));
startKeys(PAGES.map((page) => page.at));
startSharing(() => (session === null || signedOutElsewhere() ? null : currentToken()), () => signedIn() && endSession());
// This page may have been frozen or discarded when another tab signed out.
window.addEventListener("pageshow", (event) => event.persisted && signedOutElsewhere() && endSession());
if (signedOutElsewhere()) signOut();
show();
