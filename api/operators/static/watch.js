// Jobs and searches that are watched in this tab, also while it is hidden.
//
//   watchButton({ path, href, name })   a button that watches the answer to a path of the server
//
// Changes are counted in the title of the tab and listed below the navigation; the desktop is notified
// if the operator allowed that. Watches last until the tab is closed.

import { h, put, toast } from "./dom.js";
import { ENDS, stateWord } from "./format.js";
import { get, lastAnswer } from "./http.js";
import { t } from "./text.js";

const EVERY = 10_000; // milliseconds
const KEY = "jobtrail-watches";
const MAX = 10;

const box = h("section", { class: "watches", id: "watches" });
let watches = kept();
let timer = 0;

function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

function save() {
  sessionStorage.setItem(KEY, JSON.stringify(watches));
  draw();
  document.dispatchEvent(new Event("watcheschange"));
}

/** Make the button that begins or ends to watch something. */
export function watchButton(what) {
  const button = h("button", { type: "button", class: "watch", "data-key": "watch", onclick: () => (isWatched(what) ? end(what.path) : begin(what)) });
  const show = () => {
    button.textContent = t(isWatched(what) ? "watch.end" : "watch.begin");
    button.setAttribute("aria-pressed", String(isWatched(what)));
    if (!button.isConnected) return;
    document.addEventListener("watcheschange", show, { once: true });
  };
  show();
  document.addEventListener("watcheschange", show, { once: true });
  return button;
}

function isWatched({ path }) {
  return watches.some((each) => each.path === path);
}

function begin({ path, href, name }) {
  const watch = { path, href, name, seen: null, news: 0, text: "" };
  watches = [...watches, watch].slice(-MAX);
  // A change is what differs from what the operator sees now.
  const facts = lastAnswer(path);
  if (facts) take(watch, facts);
  save();
  look();
}

function end(path) {
  watches = watches.filter((each) => each.path !== path);
  save();
}

/** Look at everything that is watched, and go on while there is something. */
async function look() {
  clearTimeout(timer);
  for (const watch of watches.filter((each) => !each.over)) {
    try {
      take(watch, await get(watch.path));
    } catch {
      // The page of the operator says that the server is away; the next look may find it.
    }
  }
  if (watches.some((each) => !each.over)) timer = setTimeout(look, EVERY);
}

function take(watch, facts) {
  const { seen, text, over, fresh } = facts.items ? ofSearch(watch, facts) : ofJob(facts);
  const isNews = watch.seen !== null && fresh(watch.seen) > 0;
  const count = isNews ? fresh(watch.seen) : 0;
  Object.assign(watch, { seen, over, text: text(count || watch.news) });
  if (isNews && watches.includes(watch)) tell(watch, count);
  save();
}

function ofJob({ job, live }) {
  const word = job?.status ?? live?.status, state = job?.state ?? null;
  return {
    seen: word, over: ENDS.includes(state),
    text: () => t("watch.isNow", { status: word && stateWord(state ?? word.toLowerCase(), word) }), fresh: (before) => Number(before !== word),
  };
}

function ofSearch(watch, { items }) {
  const keys = items.map((job) => `${job.tenant}/${job.kind}/${job.id}`);
  const known = new Set(watch.seen ?? []);
  return {
    seen: [...keys, ...[...known].filter((key) => !keys.includes(key))].slice(0, 200), over: false,
    text: (count) => (count ? t("watch.found", { count }) : t("watch.nothing")),
    fresh: () => keys.filter((key) => !known.has(key)).length,
  };
}

function tell(watch, count) {
  const isSeen = !document.hidden && location.hash === watch.href;
  watch.news = isSeen ? 0 : watch.news + count;
  const text = `${watch.name}: ${watch.text}`;
  if (!isSeen) toast(text);
  if (document.hidden && globalThis.Notification?.permission === "granted") {
    const note = new Notification(watch.name, { body: watch.text, tag: watch.path });
    note.onclick = () => {
      window.focus();
      location.hash = watch.href;
    };
  }
}

/** Note that the operator sees the page of a watch. */
function seen() {
  const watch = watches.find((each) => each.href === location.hash && each.news);
  if (!watch || document.hidden) return;
  watch.news = 0;
  save();
}

function draw() {
  const canAsk = globalThis.Notification?.permission === "default";
  put(box, watches.length > 0 && [
    h("h2", {}, t("watch.title")),
    h("ul", {}, watches.map((watch) =>
      h("li", { class: watch.news ? "news" : null },
        h("a", { href: watch.href }, h("span", { translate: "no" }, watch.name), h("small", {}, watch.text)),
        h("button", { type: "button", "aria-label": t("watch.endNamed", { name: watch.name }), onclick: () => end(watch.path) }, "×")))),
    canAsk && h("button", { type: "button", class: "notify", onclick: async () => {
      await Notification.requestPermission();
      draw();
    } }, t("watch.notify")),
  ]);
  const news = watches.reduce((sum, watch) => sum + watch.news, 0);
  const title = document.title.replace(/^\(\d+\) /, "");
  const wanted = news ? `(${news}) ${title}` : title;
  if (document.title !== wanted) document.title = wanted;
}

/** Show the list of watches, and look at them. */
export function startWatching(place) {
  place.append(box);
  draw();
  new MutationObserver(draw).observe(document.querySelector("title"), { childList: true });
  window.addEventListener("hashchange", seen);
  document.addEventListener("visibilitychange", seen);
  if (watches.length) look();
}
