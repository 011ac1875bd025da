// The keyboard: / to search, j and k in lists, g and a letter to go to a page, ? for help.

import { h } from "./dom.js";
import { recall, remember } from "./stored.js";
import { t } from "./text.js";
import { goTo } from "./visit.js";

const GOING = 1_500; // milliseconds between g and its letter
const PLACES = { __proto__: null, o: "", j: "jobs", s: "stalled", d: "dead", t: "tenants", i: "issues", a: "audit" };
let going = 0;

/** Listen to the keyboard; `pages` are the addresses of the pages that exist. */
export function startKeys(pages) {
  document.addEventListener("keydown", (event) => {
    if (!isForUs(event)) return;
    const key = event.key;
    if (key === "?") help(pages);
    else if (recall("keys") === "off") return;
    else if (Date.now() - going < GOING && key in PLACES && pages.includes(PLACES[key])) goTo(`#/${PLACES[key]}`);
    else if (key === "/") document.getElementById("find").focus();
    else if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
    else if (key !== "g") return;
    going = key === "g" ? Date.now() : 0;
    event.preventDefault();
  });
}

function isForUs(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return false;
  return !event.target.closest?.("input, select, textarea, dialog, [contenteditable], [popover]");
}

/** Focus the link of the next or the previous row. */
function move(by) {
  const rows = [...document.querySelectorAll("main tbody tr")].filter((row) => row.querySelector("a") && row.checkVisibility());
  if (!rows.length) return;
  const now = rows.findIndex((row) => row.contains(document.activeElement));
  const row = rows[now < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, now + by))];
  (row.querySelector(".opens, .job a") ?? row.querySelector("a")).focus();
  row.scrollIntoView({ block: "nearest" });
}

function help(pages) {
  const key = (text) => h("kbd", {}, text);
  const going = Object.entries(PLACES).filter(([, at]) => pages.includes(at));
  const rows = [
    [[key("/")], t("keys.search")],
    [[key("j"), " ", key("k")], t("keys.rows")],
    [[key("Enter")], t("keys.open")],
    ...going.map(([letter, at]) => [[key("g"), " ", key(letter)], t(`shell.${at || "overview"}`)]),
    [[key("?")], t("keys.help")],
  ];
  const off = h("input", { type: "checkbox", id: "keys-off", checked: recall("keys") === "off", onchange: () => remember("keys", off.checked ? "off" : "on") });
  const dialog = h("dialog", { "aria-labelledby": "keys-title", class: "keys" },
    h("h2", { id: "keys-title" }, t("keys.title")),
    h("dl", {}, rows.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))),
    h("p", { class: "check" }, off, h("label", { for: "keys-off" }, t("keys.off"))),
    h("div", { class: "buttons" }, h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, t("shell.close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
