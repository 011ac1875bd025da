// What to do about each issue of the deployment's health: the effect on customers, steps, and how it ends.

import { h, panel, put } from "./dom.js";
import { known, t } from "./text.js";
import { setStatus } from "./visit.js";

const TOPICS = ["full", "redis", "postgresql", "consumers", "failing", "behind", "flood", "dead", "silent", "quiet", "sample"];

/** Return the address of a topic. */
export function helpHref(topic) {
  return `#/help/${topic}`;
}

export function help(visit) {
  setStatus("live"); // there is nothing to load
  put(visit.main, h("h1", {}, t("help.title")), links(TOPICS), h("p", { class: "hint" }, t("help.runbook")));
}

export function helpTopic(visit) {
  setStatus("live");
  const topic = visit.parts[1];
  if (!TOPICS.includes(topic) || !known(`help.${topic}-title`)) {
    put(visit.main, h("h1", {}, t("help.title")), h("p", { class: "note warn" }, t("help.unknown")), links(TOPICS));
    return;
  }
  const steps = t(`help.${topic}-steps`).split("\n");
  put(visit.main, h("h1", {}, t(`help.${topic}-title`)),
    panel(t("help.effect"), h("p", {}, t(`help.${topic}-effect`))),
    panel(t("help.steps"), h("ol", { class: "steps-to-do" }, steps.map((step) => h("li", {}, step)))),
    panel(t("help.over"), h("p", {}, t(`help.${topic}-over`))),
    panel(t("help.others"), links(TOPICS.filter((each) => each !== topic))),
    h("p", { class: "hint" }, t("help.runbook")));
}

function links(topics) {
  return h("ul", {}, topics.map((each) => h("li", {}, h("a", { href: helpHref(each) }, t(`help.${each}-title`)))));
}
