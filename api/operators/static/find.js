// The search on every page: a part of an id or a tenant, or words such as state:failed.

import { h, put } from "./dom.js";
import { suggestedJob, suggestions } from "./near.js";
import { STATES, SPANS, searchHref } from "./search.js";
import { t } from "./text.js";
import { goTo } from "./visit.js";

const TYPING = 150; // milliseconds without a key, before suggestions are asked for
const NAMES = { __proto__: null, id: "id", part: "part", tenant: "tenant", kind: "kind", state: "state", type: "job_type", job_type: "job_type", worker: "worker", code: "code", last: "last", since: "since", until: "until" };

/** Return the filters that a text describes; a word alone is the beginning of an id. */
export function filtersOfText(text) {
  const filters = {};
  for (const [, name, quoted, word] of text.matchAll(/(?:([\w.-]+):)?(?:"([^"]*)"|(\S+))/g)) {
    const value = quoted ?? word;
    if (name?.startsWith("label.")) filters[name] = value;
    else if (name in NAMES) filters[NAMES[name]] = value;
    else filters.id = name === undefined ? value : `${name}:${value}`;
  }
  return filters;
}

/** Make the search. */
export function finder() {
  // Pressing a suggestion keeps the focus: some browsers focus no link by a press, which would close the list.
  const field = h("input", { id: "find", type: "search", autocomplete: "off", spellcheck: "false", placeholder: t("find.placeholder"), "aria-describedby": "find-help" });
  const found = h("div", { class: "found", id: "found", onmousedown: (event) => event.preventDefault() });
  let timer, controller = new AbortController();
  const close = () => {
    clearTimeout(timer);
    controller.abort();
    put(found);
  };
  const suggest = async () => {
    controller.abort();
    controller = new AbortController();
    const text = field.value.trim();
    if (!text) return close();
    try {
      const near = await suggestions(text, controller.signal);
      if (field.value.trim() === text && document.activeElement === field) put(found, choices(text, near));
    } catch {
      // Typing goes on without suggestions; a page that needs the server says that it is away.
    }
    return undefined;
  };
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(suggest, TYPING);
  });
  const form = h("form", { class: "finder", role: "search", "aria-label": t("find.label"), onsubmit: (event) => {
    event.preventDefault();
    const text = field.value.trim();
    close();
    if (text) goTo(searchHref(filtersOfText(text)));
  }, onkeydown: (event) => {
    const links = [...found.querySelectorAll("a")], at = links.indexOf(document.activeElement);
    if (event.key === "Escape") {
      close();
      field.focus();
    } else if (event.key === "ArrowDown" && links.length) links[Math.min(at + 1, links.length - 1)].focus();
    else if (event.key === "ArrowUp" && links.length) (at > 0 ? links[at - 1] : field).focus();
    else return;
    event.preventDefault();
  }, onfocusout: (event) => form.contains(event.relatedTarget) || close() },
    h("label", { for: "find", class: "unseen" }, t("find.label")), field, found,
    h("p", { id: "find-help", class: "unseen" }, t("find.help")));
  window.addEventListener("hashchange", () => {
    field.value = "";
    close();
  });
  return form;
}

function choices(text, { jobs, tenants }) {
  const filters = filtersOfText(text), isWord = Object.keys(filters).length === 1 && filters.id === text;
  if (!isWord) return h("p", { class: "hint" }, t("find.enter"));
  const ways = [["id", "find.byId"], ["part", "find.byPart"], ["job_type", "find.byType"], ["worker", "find.byWorker"], ["code", "find.byCode"]];
  const group = (key, links) => links.length > 0 && [h("p", { class: "hint" }, t(key)), h("ul", {}, links.map((each) => h("li", {}, each)))];
  return [
    STATES.includes(text) && h("p", {}, h("a", { href: searchHref({ state: text }) }, t("find.byState", { text }))),
    text in SPANS && h("p", {}, h("a", { href: searchHref({ last: text }) }, t("find.byLast", { text: t(`jobs.last-${text}`) }))),
    group(jobs.some((job) => job.id.startsWith(text)) ? "find.jobs" : "find.jobsNear", jobs.map(suggestedJob)),
    group("find.tenants", tenants.map((name) => h("a", { href: searchHref({ tenant: name }), translate: "no" }, name))),
    group("find.search", ways.map(([name, key]) => h("a", { href: searchHref({ [name]: text }) }, t(key, { text })))),
  ];
}
