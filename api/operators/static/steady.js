// Lists whose rows keep their places: new rows are announced, and shown when the operator asks for them.
//
//   const rows = new SteadyRows((item) => item.id);
//   rows.take(facts.items)          the rows to show: those that were shown, with their new content
//   rows.take(facts.items, true)    the same, as the rows of the answer
//   rows.notice(redraw)             an element that announces the new rows; put it where nothing moves

import { h } from "./dom.js";
import { t } from "./text.js";

export class SteadyRows {
  constructor(keyOf) {
    this.keyOf = keyOf;
    this.rows = [];
    this.latest = [];
    this.waiting = 0;
  }

  /** Take the items of an answer; return the rows to show. */
  take(items, mayChange = false) {
    if (mayChange) this.rows = [];
    const fresh = new Map(items.map((item) => [this.keyOf(item), item]));
    this.latest = items;
    if (this.rows.length) this.rows = this.rows.map((row) => fresh.get(this.keyOf(row)) ?? row);
    else this.rows = items;
    for (const row of this.rows) fresh.delete(this.keyOf(row));
    this.waiting = fresh.size;
    return this.rows;
  }

  /** Show the latest answer as it is. */
  accept() {
    this.rows = this.latest;
    this.waiting = 0;
  }

  /** Make the announcement of new rows. */
  notice(redraw) {
    return h("span", { class: "fresh", role: "status" }, this.waiting > 0 && h("button", { type: "button", class: "primary", "data-key": "fresh", onclick: () => {
      this.accept();
      redraw();
    } }, t("jobs.fresh", { count: this.waiting })));
  }
}
