// The filters of dead letters: in the address, in the form, and in requests.

import { h } from "./dom.js";
import { t } from "./text.js";
import { goTo } from "./visit.js";

export const FILTERS = ["tenant", "reason", "detail", "group", "type", "kind", "job_type"];

/** Return the filters in the query of an address, without empty ones. */
export function filtersIn(query) {
  return Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]).filter(([, value]) => value));
}

/** Return the query of a request or an address. Later values replace earlier ones; empty ones are left out. */
export function queryOf(...values) {
  const given = Object.entries(Object.assign({}, ...values));
  return String(new URLSearchParams(given.filter(([, value]) => value !== null && value !== undefined && value !== "")));
}

export function addressOf(filters, more = {}) {
  const query = queryOf(filters, more);
  return query ? `#/dead?${query}` : "#/dead";
}

/** Make the form of the filters; `tenants` are suggested. */
export function filterForm(filters, tenants) {
  const field = (name, extra = {}) =>
    h("p", {}, h("label", { for: `by-${name}` }, t(`dead.${name}`)),
      h("input", { id: `by-${name}`, name, value: filters[name] ?? "", autocomplete: "off", spellcheck: "false", maxlength: name === "detail" ? 500 : 200, ...extra }));
  const form = h("form", { class: "filters letter-filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    const filled = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
    goTo(addressOf(Object.fromEntries(filled)));
  } },
    field("tenant", { list: "dead-tenants" }),
    field("reason"), field("detail"), field("group"), field("type"), field("kind"), field("job_type"),
    h("datalist", { id: "dead-tenants" }, tenants.map((each) => h("option", { value: each.tenant }))),
    h("p", { class: "go" }, h("button", { type: "submit", class: "primary" }, t("dead.search")), h("a", { href: "#/dead" }, t("dead.clear"))));
  return form;
}
