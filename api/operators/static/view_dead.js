// Dead letters: entries that could not be applied, grouped by reason, and one by one.

import { h, panel, put, table } from "./dom.js";
import { ago } from "./format.js";
import { get } from "./http.js";
import { Chosen, Matching, actOnMany } from "./letter_actions.js";
import { eventCell, typeBadges } from "./letter_event.js";
import { addressOf, filterForm, filtersIn, queryOf } from "./letter_filters.js";
import { Counting, groupList } from "./letter_groups.js";
import { t } from "./text.js";
import { letterButtons } from "./view_letter.js";
import { PHONE_LIMIT, onPhone } from "./visit.js";

export { letter } from "./view_letter.js";

const EVERY = 5_000; // milliseconds
const COUNTED_EVERY = 30_000; // milliseconds: to count costs more than to list
const RECOUNTED_AFTER = 3_000; // milliseconds, when the number is about to matter

export async function dead(visit) {
  const view = new DeadLetters(visit);
  const path = `dead/?${queryOf(view.filters, { cursor: view.cursor, limit: onPhone() ? PHONE_LIMIT : null })}`;
  await visit.live(async () => view.take(await get(path, { signal: visit.signal })), EVERY);
}

class DeadLetters {
  constructor(visit) {
    this.visit = visit;
    this.filters = filtersIn(visit.query);
    this.cursor = visit.query.get("cursor");
    this.chosen = new Map(); // selected letters by their key
    this.all = false; // whether all that match are selected
    this.facts = this.shown = this.counting = null;
    this.acted = false; // whether the next answer is shown as it is, because of an action
    this.countedAt = 0;
    this.groups = h("section", { class: "panel", "aria-label": t("dead.byReason") });
    this.bar = h("div", { class: "letter-bar" });
    this.list = h("div");
  }

  /** Take an answer: new letters are announced, so that no row moves under the pointer. */
  async take(facts) {
    if (!this.list.isConnected) this.#frame(facts);
    const changed = this.acted || facts !== this.facts;
    this.facts = facts;
    if (this.shown === null || this.acted || this.#fresh() === 0) this.shown = facts;
    this.acted = false;
    if (changed) this.draw();
    const due = changed ? COUNTED_EVERY : COUNTED_EVERY * 4;
    if (Date.now() - this.countedAt > due) await this.count();
  }

  #frame(facts) {
    put(this.visit.main, h("h1", {}, t("dead.title")),
      h("p", { class: "lead" }, t("dead.lead")),
      !this.visit.session.may_act && h("p", { class: "note" }, t("dead.readOnly")),
      filterForm(this.filters, facts.tenants),
      h("div", { class: "stack" }, this.groups, panel(null, this.bar, this.list)));
  }

  /** Count all letters that match, as far as one request does. */
  async count() {
    this.countedAt = Date.now();
    const counting = new Counting(this.filters);
    await counting.step(this.visit.signal);
    this.counting = counting;
    this.#drawGroups();
    this.#drawBar();
  }

  #fresh() {
    const known = new Set(this.shown.items.map(keyOf));
    return this.facts.items.filter((each) => !known.has(keyOf(each))).length;
  }

  draw() {
    this.#drawBar();
    put(this.list, table(t("dead.title"), this.#columns(), this.shown.items, this.#nothing()), this.#pages());
  }

  #drawGroups() {
    const { counting } = this;
    this.groups.hidden = counting.letters === 0 && counting.complete;
    put(this.groups, h("h2", {}, `${counting.lettersText} · ${counting.tenantsText}`),
      counting.letters > 0 && groupList(counting),
      !counting.complete && h("p", {}, h("button", { type: "button", "data-key": "count", onclick: async () => {
        await counting.step(this.visit.signal).catch((error) => this.visit.failed(error));
        this.#drawGroups();
        this.#drawBar();
      } }, t("dead.countOn"))));
  }

  #drawBar() {
    const fresh = this.#fresh(), number = this.chosen.size, any = this.all || number > 0;
    const button = (key, onclick, style) => h("button", { type: "button", "data-key": key, class: style, onclick }, t(key));
    const select = (change) => () => {
      change();
      this.draw();
    };
    put(this.bar,
      this.visit.session.may_act && this.shown.items.length > 0 && [
        any && h("span", { role: "status" }, this.all ? this.#allText() : t("dead.selected", { count: number })),
        !this.all && button("dead.selectPage", select(() => this.#selectable().forEach((each) => this.chosen.set(keyOf(each), each)))),
        !this.all && button("dead.selectAll", select(() => this.#selectAll())),
        any && button("dead.requeueSelected", () => this.#act("requeue"), "primary"),
        any && button("dead.discardSelected", () => this.#act("discard"), "danger"),
        any && button("dead.selectNone", select(() => this.#clear())),
      ],
      fresh > 0 && h("button", { type: "button", class: "primary", "data-key": "fresh", onclick: select(() => (this.shown = this.facts)) }, t("dead.fresh", { count: fresh })));
  }

  #selectAll() {
    this.all = true;
    if (Date.now() - this.countedAt > RECOUNTED_AFTER) this.count().catch((error) => this.visit.failed(error));
  }

  #allText() {
    const { counting } = this;
    if (!counting) return t("dead.selectedAll");
    return t(counting.complete ? "dead.selectedAllCount" : "dead.selectedAllAtLeast", { count: counting.letters });
  }

  #selectable() {
    return this.shown.items.filter((each) => each.known_tenant);
  }

  #clear() {
    this.chosen.clear();
    this.all = false;
  }

  #act(verb) {
    const selection = this.all ? new Matching(this.filters) : new Chosen([...this.chosen.values()]);
    actOnMany(verb, selection, () => {
      this.#clear();
      this.draw();
      this.reload();
    });
  }

  /** Show what is there after an action. */
  reload() {
    this.acted = true;
    this.countedAt = 0;
    this.visit.refresh();
  }

  #nothing() {
    if (this.shown.next_cursor) return t("dead.noMatchSoFar");
    return t(Object.keys(this.filters).length ? "dead.noMatch" : "dead.none");
  }

  #columns() {
    const mayAct = this.visit.session.may_act;
    return [
      ...(mayAct ? [{ title: t("dead.select"), phone: "lead", cell: (each) => this.#box(each) }] : []),
      { title: t("dead.deadSince"), phone: "lead", cell: (each) => ago(each.rejected_at) },
      { title: t("dead.tenantAndEntry"), phone: "line", cell: (each) => h("div", { class: "lines" },
        h("a", { class: "short", title: each.tenant, href: addressOf(this.filters, { tenant: each.tenant }), translate: "no" }, each.tenant),
        h("a", { class: "unbroken opens", href: `#/dead/${encodeURIComponent(each.tenant)}/${each.id}`, translate: "no" }, each.id)) },
      { title: t("dead.reason"), wide: true, phone: "full", cell: (each) => h("div", { class: "lines" },
        h("span", { class: "badges" }, h("a", { class: "badge is-failed", href: addressOf(this.filters, { reason: each.reason }), translate: "no" }, each.reason), typeBadges(each, this.filters)),
        h("span", { class: "detail", translate: "no" }, each.detail)) },
      { title: t("dead.job"), wide: true, phone: "full", cell: (each) => eventCell(each, this.filters) },
      ...(mayAct ? [{ title: t("dead.action"), phone: "full", cell: (each) => letterButtons(each, this.visit, () => this.list.isConnected && this.reload()) }] : []),
    ];
  }

  #box(each) {
    if (!each.known_tenant) return "";
    const key = keyOf(each);
    return h("input", {
      type: "checkbox", class: "box", "data-key": `box ${key}`, "aria-label": t("dead.selectOne", { id: each.id }),
      checked: this.all || this.chosen.has(key), disabled: this.all,
      onchange: (event) => {
        if (event.target.checked) this.chosen.set(key, each);
        else this.chosen.delete(key);
        this.#drawBar();
      },
    });
  }

  #pages() {
    const next = this.shown.next_cursor;
    return h("p", { class: "pages" },
      this.cursor && h("a", { href: addressOf(this.filters) }, t("shell.firstPage")),
      next && h("a", { href: addressOf(this.filters, { cursor: next }) }, t("shell.nextPage")));
  }
}

function keyOf(each) {
  return `${each.tenant}/${each.id}`;
}
