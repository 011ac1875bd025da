// Searches that the operator saved in this browser, by name.

import { h, put } from "./dom.js";
import { filtersOf, searchHref } from "./search.js";
import { recall, remember } from "./stored.js";
import { t } from "./text.js";

const MAX = 30;

/** Make the list of saved searches, and the way to save this one. */
export function savedViews(query) {
  const box = h("div", { class: "views" }), here = searchHref(Object.fromEntries(filtersOf(query)));
  const draw = () => put(box, list(here, draw), filtersOf(query).length > 0 && !views().some((each) => each.href === here) && saveForm(here, draw));
  draw();
  return box;
}

function views() {
  const kept = recall("views", []);
  return Array.isArray(kept) ? kept.filter((each) => typeof each?.name === "string" && String(each.href).startsWith("#/jobs?")) : [];
}

function list(here, redraw) {
  const all = views();
  if (!all.length) return null;
  return h("ul", { class: "choice", "aria-label": t("jobs.savedViews") }, all.map((view) =>
    h("li", {}, h("a", { href: view.href, "aria-current": view.href === here && "true", translate: "no" }, view.name),
      h("button", { type: "button", "aria-label": t("jobs.forget", { name: view.name }), onclick: () => {
        remember("views", views().filter((each) => each.href !== view.href));
        redraw();
      } }, "×"))));
}

function saveForm(here, redraw) {
  const name = h("input", { id: "view-name", maxlength: "60", required: true, autocomplete: "off" });
  return h("details", { class: "save" }, h("summary", {}, t("jobs.saveView")),
    h("form", { onsubmit: (event) => {
      event.preventDefault();
      if (!name.value.trim()) return;
      remember("views", [...views(), { name: name.value.trim(), href: here }].slice(-MAX));
      redraw();
    } }, h("label", { for: "view-name" }, t("jobs.viewName")), name, h("button", { type: "submit", class: "primary" }, t("jobs.save"))));
}
