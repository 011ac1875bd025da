// Requeueing and discarding: one dead letter, chosen ones, or all that match; with a preview, progress,
// and what happened to each. Each request handles a limited number of letters. A handled letter is gone,
// so that nothing is done twice when an interrupted action goes on.

import { confirmed, h, put, table, toast } from "./dom.js";
import { count } from "./format.js";
import { get, path, post } from "./http.js";
import { queryOf } from "./letter_filters.js";
import { Counting } from "./letter_groups.js";
import { t } from "./text.js";

const MAX_COUNTED = 20; // requests to count what matches
const MAX_LISTED = 300; // outcomes
const MAX_CHECKED = 50; // entries in one request
const CHECKS = 8;
const BAD = ["dead.outcome.failed", "dead.outcome.not_kept", "dead.outcome.invalid_tenant", "dead.outcome.unknown", "dead.state.dead"];
const CHECK_EVERY = 1_500; // milliseconds

/** Requeue or discard one letter, once that is confirmed. */
export async function actOnOne(verb, each, after) {
  const sure = await confirmed({
    title: t(`dead.${verb}Title`),
    text: t(`dead.${verb}Text`, { id: each.id, tenant: each.tenant }),
    action: t(`dead.${verb}`),
    danger: verb === "discard",
  });
  if (!sure) return;
  try {
    const result = await post(path("dead", each.tenant, each.id, verb));
    if (verb === "discard") toast(t("dead.discardedOne"));
    else {
      toast(t("dead.requeuedAs", { entry: result.entry_id }));
      showVerdict(each.tenant, result.entry_id, after);
    }
  } catch (error) {
    toast(error.status === 404 ? t("dead.goneOne") : error.message, "bad");
  }
  after();
}

/** Tell what became of a requeued entry, once that is known. */
async function showVerdict(tenant, entry, after) {
  for (let n = 0; n < CHECKS; n += 1) {
    await new Promise((resolve) => setTimeout(resolve, CHECK_EVERY));
    const { items: [found] } = await get(`dead/requeued/?${new URLSearchParams({ entry: `${tenant}/${entry}` })}`).catch(() => ({ items: [] }));
    if (found?.state === "applied") return toast(t("dead.requeuedApplied", { entry }));
    if (found?.state === "dead") {
      toast(t("dead.requeuedDead", { entry, reason: `${found.reason}: ${found.detail}` }), "bad");
      return after(true);
    }
  }
  return undefined;
}

/** The letters that were chosen one by one. */
export class Chosen {
  constructor(letters) {
    this.letters = letters;
    this.at = 0;
  }

  async count() {
    return { all: this.letters.length, complete: true, summary: null };
  }

  /** Act on the next letter; return its outcome, and whether there are more. */
  async step(verb, requestId) {
    const each = this.letters[this.at];
    const item = { tenant: each.tenant, id: each.id, entry_id: null, detail: null };
    try {
      const done = await post(path("dead", each.tenant, each.id, verb), requestId);
      Object.assign(item, { outcome: verb === "requeue" ? "requeued" : "discarded", entry_id: done.entry_id ?? null });
    } catch (error) {
      if (error.status !== 404 && error.status !== 400) throw error;
      Object.assign(item, error.status === 404 ? { outcome: "gone" } : { outcome: "failed", detail: error.message });
    }
    this.at += 1;
    return { items: [item], more: this.at < this.letters.length };
  }
}

/** All letters that match the filters at the moment of the preview. */
export class Matching {
  constructor(filters) {
    this.counting = new Counting(filters);
    this.cursor = null;
  }

  async count(signal) {
    for (let n = 0; n < MAX_COUNTED && !this.counting.complete; n += 1) await this.counting.step(signal);
    return { all: this.counting.letters, complete: this.counting.complete, summary: summary(this.counting) };
  }

  async step(verb, requestId) {
    const { filters, until } = this.counting;
    const done = await post(`dead/${verb}/?${queryOf(filters, { until, cursor: this.cursor })}`, requestId);
    this.cursor = done.next_cursor;
    return { items: done.items, more: done.next_cursor !== null };
  }
}

function summary(counting) {
  return h("ul", { class: "cases" },
    h("li", {}, t("dead.inTenants", { tenants: counting.tenantsText })),
    counting.sorted.slice(0, 5).map((each) => h("li", {},
      h("b", {}, count(each.letters)), " ", h("span", { class: "badge is-failed", translate: "no" }, each.reason), " ",
      h("span", { class: "detail", translate: "no" }, each.detail))));
}

/** Show the preview of an action on many letters; do it once it is confirmed, and show its progress. */
export function actOnMany(verb, selection, after) {
  const body = h("div", { class: "bulk" }), title = h("h2", { id: "bulk-title" });
  const dialog = h("dialog", { class: "wide", "aria-labelledby": "bulk-title" }, title, body);
  const controller = new AbortController();
  const run = new Run(verb, selection, { title, body, close: () => dialog.close() });
  dialog.addEventListener("cancel", (event) => run.busy && event.preventDefault());
  dialog.addEventListener("close", () => {
    controller.abort();
    run.stop();
    dialog.remove();
    after();
  });
  document.body.append(dialog);
  dialog.showModal();
  run.preview(controller.signal);
}

class Run {
  constructor(verb, selection, { title, body, close }) {
    Object.assign(this, { verb, selection, title, body, close });
    this.requestId = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    this.outcomes = new Map();
    this.states = new Map(); // by the new entry: applied, waiting or dead
    this.busy = this.stopping = false;
  }

  stop() {
    this.stopping = true;
  }

  async preview(signal) {
    this.title.textContent = t("dead.counting");
    put(this.body, this.#buttons([["shell.cancel", this.close]]));
    try {
      const { all, complete, summary: found } = await this.selection.count(signal);
      this.all = complete ? all : null;
      const key = `dead.${this.verb}Many${complete ? "" : "AtLeast"}`;
      this.title.textContent = t(key, { count: all });
      if (all === 0 && complete) put(this.body, h("p", {}, t("dead.nothingLeft")), this.#buttons([["shell.close", this.close]]));
      else {
        put(this.body, h("p", {}, t(`dead.${this.verb}Preview`)), found,
          this.#buttons([["shell.cancel", this.close], [`dead.${this.verb}`, () => this.go(), this.verb === "discard" ? "danger" : "primary"]]));
      }
    } catch (error) {
      if (signal.aborted) return;
      put(this.body, h("p", { class: "note bad", role: "alert" }, error.message), this.#buttons([["shell.close", this.close]]));
    }
    this.body.querySelector("button")?.focus();
  }

  async go() {
    this.busy = true;
    this.stopping = false;
    this.title.textContent = t(`dead.${this.verb}`);
    this.#draw();
    let message = null, more = true;
    try {
      while (more && !this.stopping) {
        const step = await this.selection.step(this.verb, this.requestId);
        step.items.forEach((item) => this.outcomes.set(`${item.tenant}/${item.id}`, item));
        more = step.more;
        this.#draw();
      }
      message = t(more ? "dead.stopped" : "dead.finished");
    } catch (error) {
      message = t("dead.interrupted", { error: error.message });
    }
    this.busy = false;
    this.#draw(message, more);
    this.body.querySelector(".buttons button")?.focus();
    if (!more && this.verb === "requeue") await this.#check(message);
  }

  /** Look for a while what became of the requeued entries. */
  async #check(message) {
    const waiting = () => [...this.outcomes.values()].filter((each) => each.entry_id && !["applied", "dead"].includes(this.states.get(each.entry_id)?.state)).slice(0, MAX_LISTED);
    for (let n = 0; n < CHECKS && waiting().length && this.body.isConnected; n += 1) {
      await new Promise((resolve) => setTimeout(resolve, CHECK_EVERY));
      const asked = waiting();
      for (let at = 0; at < asked.length; at += MAX_CHECKED) {
        const query = new URLSearchParams(asked.slice(at, at + MAX_CHECKED).map((each) => ["entry", `${each.tenant}/${each.entry_id}`]));
        const found = await get(`dead/requeued/?${query}`).catch(() => ({ items: [] }));
        found.items.forEach((each) => this.states.set(each.entry_id, each));
      }
      this.#draw(message, false);
    }
  }

  #draw(message = null, more = false) {
    const items = [...this.outcomes.values()], done = items.length;
    const text = this.all === null ? t("dead.workingOn", { done }) : t("dead.working", { done, all: this.all });
    const buttons = this.busy
      ? [["dead.stop", () => this.stop()]]
      : [["shell.close", this.close], ...(more ? [["dead.goOn", () => this.go(), "primary"]] : [])];
    put(this.body,
      h("progress", { max: this.all ?? false, value: this.all === null && this.busy ? false : this.busy || more ? done : this.all ?? done, "aria-label": text }),
      h("p", { class: "counts" }, text, " ", counts(items, this.states).map(([key, number]) => h("span", { class: BAD.includes(key) ? "badge is-failed" : "badge" }, `${t(key)} ${count(number)}`))),
      message && h("p", { class: "note", role: "status" }, message),
      !this.busy && done > 0 && this.#outcomes(items),
      this.#buttons(buttons));
  }

  #outcomes(items) {
    return h("details", {},
      h("summary", {}, t("dead.outcomes")),
      h("p", { class: "hint" }, h("a", { href: `#/audit?${queryOf({ request_id: this.requestId })}`, onclick: this.close }, t("dead.audit"))),
      items.length > MAX_LISTED && h("p", { class: "hint" }, t("dead.firstOnly", { count: MAX_LISTED })),
      table(t("dead.outcomes"), [
        { title: t("dead.tenant"), wide: true, cell: (each) => h("span", { translate: "no" }, each.tenant) },
        { title: t("dead.entry"), cell: (each) => h("span", { class: "unbroken", translate: "no" }, each.id) },
        { title: t("dead.outcome"), wide: true, cell: (each) => outcomeCell(each, this.states.get(each.entry_id)) },
      ], items.slice(0, MAX_LISTED), ""));
  }

  #buttons(list) {
    return h("div", { class: "buttons" }, list.map(([key, onclick, style]) => h("button", { type: "button", class: style, onclick }, t(key))));
  }
}

/** Return the numbers of letters by outcome, and of requeued entries by what became of them. */
function counts(items, states) {
  const found = new Map(), add = (key) => found.set(key, (found.get(key) ?? 0) + 1);
  for (const each of items) {
    add(`dead.outcome.${each.outcome}`);
    const state = states.get(each.entry_id)?.state;
    if (state) add(`dead.state.${state}`);
  }
  return [...found];
}

export function outcomeCell(each, became = null) {
  return [
    t(`dead.outcome.${each.outcome}`), each.entry_id && [" → ", h("span", { translate: "no" }, each.entry_id)],
    each.detail && [": ", h("span", { class: "detail", translate: "no" }, each.detail)],
    became && [" · ", t(`dead.state.${became.state}`), became.reason && [": ", h("span", { class: "detail", translate: "no" }, `${became.reason}: ${became.detail}`)]],
  ];
}
