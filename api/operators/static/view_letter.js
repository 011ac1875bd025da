// One dead letter: why it was rejected, and what the entry holds.

import { h, panel, put } from "./dom.js";
import { ago, bytes, pretty } from "./format.js";
import { path } from "./http.js";
import { actOnOne } from "./letter_actions.js";
import { isEnd, isReadable, jobLink, workerLink } from "./letter_event.js";
import { addressOf } from "./letter_filters.js";
import { searchHref } from "./search.js";
import { parts, t } from "./text.js";

const EVERY = 30_000; // milliseconds

export async function letter(visit) {
  const [, tenant, id] = visit.parts;
  await visit.load(path("dead", tenant, id), (each) => draw(visit, each, tenant), EVERY);
}

function draw(visit, each, tenant) {
  const facts = [
    [t("dead.tenant"), asData(each.tenant)], [t("dead.entry"), asData(each.entry_id)], [t("dead.deadSince"), ago(each.rejected_at)],
    [t("dead.size"), bytes(each.bytes)], [t("dead.type"), each.type ? asData(each.type) : t("dead.noType")],
    ...(each.job_id === null ? [] : [[t("dead.job"), jobLink(each)]]),
    ...["kind", "job_type"].filter((name) => each[name] !== null).map((name) => [t(`dead.${name}`), asData(each[name])]),
    ...(each.worker === null ? [] : [[t("dead.worker"), workerLink(each)]]),
  ];
  const lines = [
    ...each.rejections.map((rejection) => [
      t("dead.groupFacts", { group: rejection.group }),
      t("dead.rejection", { reason: rejection.reason, detail: rejection.detail, count: rejection.deliveries }),
    ]),
    ...(each.sha256 ? [["SHA-256", each.sha256]] : []),
  ];
  const all = [...facts.map((fact) => [...fact, null]), ...lines.map((line) => [...line, "line"])];
  put(visit.main,
    h("p", { class: "trail" }, h("a", { href: "#/dead" }, t("dead.title")), " / ", h("a", { href: addressOf({ tenant }), translate: "no" }, tenant)),
    h("h1", { class: "id", translate: "no" }, each.id),
    h("div", { class: "stack" },
      h("section", { class: "panel", "aria-label": t("dead.letter") },
        h("dl", { class: "facts" }, all.map(([name, value, style]) => h("div", { class: style }, h("dt", {}, name), h("dd", {}, value)))),
        notes(each),
        letterButtons(each, visit, (isLater = false) => {
          if (!isLater) location.hash = addressOf({ tenant }); // later, the operator may be elsewhere
        })),
      panel(t("dead.event"), each.event ? content(each.event) : h("p", { class: "empty" }, t("dead.noEvent")),
        each.cut && h("p", { class: "hint" }, t(each.sha256 ? "dead.onlyBeginning" : "dead.truncated"))),
      each.others.length > 0 && panel(t("dead.otherFields"), each.others.map((field) =>
        h("div", {}, content(field.name), content(field.value))))));
}

/** Say that the event is the end of its job, and where to look for the worker that appended it. */
function notes(each) {
  const { tenant, job_type: jobType, worker } = each;
  const jobs = h("a", { href: searchHref({ tenant, job_type: jobType }) }, t(jobType ? "dead.jobsOfType" : "dead.jobsOfTenant"));
  return [
    isEnd(each) && h("p", { class: "note warn" }, t("dead.endNote")),
    worker === null && each.known_tenant && h("p", { class: "hint repeat" }, parts(isReadable(each) ? "dead.workerUnknown" : "dead.workerUnreadable", { jobs })),
  ];
}

/** Make the buttons of a letter, or say why there are none. */
export function letterButtons(each, visit, after) {
  if (!visit.session.may_act) return h("span", { class: "hint" }, t("dead.readOnly"));
  if (!each.known_tenant) return h("span", { class: "hint" }, t("dead.badTenant"));
  const button = (verb, style) => h("button", {
    type: "button", class: style, "data-key": `${verb} ${each.id}`, "aria-label": t(`dead.${verb}One`, { id: each.id }),
    onclick: () => actOnOne(verb, each, after),
  }, t(`dead.${verb}`));
  return h("span", { class: "buttons" }, button("requeue"), button("discard", "danger"));
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false; // shown as it is: what is wrong with it is the point
  }
}

function asData(text) {
  return h("span", { translate: "no" }, text);
}

function content({ text, base64 }) {
  if (base64 !== undefined) return h("div", {}, h("p", { class: "hint" }, t("dead.notText")), h("pre", { tabindex: "0", translate: "no" }, base64));
  return h("pre", { tabindex: "0", translate: "no" }, isJson(text) ? pretty(text) : text);
}
