// The audit log: what operators have changed, when, and what happened.

import { h, panel, put, table } from "./dom.js";
import { ago, count } from "./format.js";
import { outcomeCell } from "./letter_actions.js";
import { queryOf } from "./letter_filters.js";
import { known, t } from "./text.js";

const EVERY = 10_000; // milliseconds
const FILTERS = ["actor", "action", "tenant", "request_id"];

export async function audit(visit) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, visit.query.get(name)]).filter(([, value]) => value));
  const cursor = visit.query.get("cursor"), body = h("div");
  await visit.load(`actions/?${queryOf(filters, { cursor })}`, (facts) => {
    if (!body.isConnected) {
      put(visit.main, h("h1", {}, t("audit.title")), h("p", { class: "lead" }, t("audit.lead")), filterForm(filters), body);
    }
    const nothing = t(Object.keys(filters).length ? "audit.noMatch" : "audit.none");
    put(body, panel(null, table(t("audit.title"), columns(filters), facts.items, nothing), pages(filters, cursor, facts.next_cursor)));
  }, cursor ? EVERY * 6 : EVERY);
}

function address(...values) {
  return `#/audit?${queryOf(...values)}`;
}

function columns(filters) {
  const link = (name, value) => h("a", { href: address(filters, { [name]: value }), translate: "no" }, value);
  return [
    { title: t("audit.when"), cell: (each) => ago(each.at) },
    { title: t("audit.who"), wide: true, cell: (each) => [
      each.actor === null ? t("audit.unnamed") : link("actor", each.actor), " ",
      h("small", {}, [t(`audit.via.${each.via}`), each.actor_tenant && t("audit.ofTenant", { tenant: each.actor_tenant }), each.address].filter(Boolean).join(" · ")),
    ] },
    { title: t("audit.action"), cell: (each) => h("a", { href: address(filters, { action: each.action }) }, word(each.action)) },
    { title: t("audit.target"), wide: true, cell: target },
    { title: t("audit.outcome"), wide: true, cell: outcome },
    { title: t("audit.request_id"), cell: (each) => h("a", { class: "request", href: address({ request_id: each.request_id }), translate: "no" }, each.request_id.slice(0, 8)) },
  ];
}

/** Return the text of an action or an outcome; one of a newer server is shown as it is. */
function word(name) {
  return known(`audit.${name}`) ? t(`audit.${name}`) : name;
}

function target({ tenant, target: { letter, letters, filters, ...others } }) {
  const where = tenant === null ? t("audit.allTenants") : h("span", { translate: "no" }, tenant);
  const rest = Object.entries({ ...filters, ...others }).filter(([name, value]) => value !== null && !["tenant", "after", "limit"].includes(name));
  const what = letter ? [letter] : letters ?? rest.map(([name, value]) => `${name}: ${name === "until" ? timeOf(value) : String(value)}`);
  return [where, " ", h("span", { class: "detail", translate: "no" }, what.join(", ") || t("audit.everything"))];
}

/** Return a time in milliseconds as RFC 3339, or as it is if no date is that far away. */
function timeOf(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? String(ms) : at.toISOString();
}

function outcome({ outcome: name, details }) {
  if (name === null) return h("span", { class: "badge is-cancelled" }, t("audit.interrupted"));
  const letters = details?.letters ?? [], counts = Object.entries(details?.counts ?? {});
  const words = counts.map(([each, number]) => `${known(`dead.outcome.${each}`) ? t(`dead.outcome.${each}`) : each} ${count(number)}`);
  return [
    h("span", { class: "badge" }, word(name)), " ", words.join(", "),
    letters.length > 0 && h("details", {}, h("summary", {}, t("audit.letters", { count: letters.length })),
      h("ul", { class: "cases" }, letters.map((each) => h("li", {}, h("span", { translate: "no" }, `${each.tenant} ${each.id} `), outcomeCell(each))))),
  ];
}

function filterForm(filters) {
  const form = h("form", { class: "filters letter-filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    location.hash = address(Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()])));
  } },
    FILTERS.map((name) => h("p", {}, h("label", { for: `by-${name}` }, t(`audit.${name}`)),
      h("input", { id: `by-${name}`, name, value: filters[name] ?? "", autocomplete: "off", spellcheck: "false", maxlength: 200 }))),
    h("p", { class: "go" }, h("button", { type: "submit", class: "primary" }, t("audit.search")), h("a", { href: "#/audit" }, t("audit.clear"))));
  return form;
}

function pages(filters, cursor, next) {
  return h("p", { class: "pages" },
    cursor && h("a", { href: address(filters) }, t("shell.firstPage")),
    next && h("a", { href: address(filters, { cursor: next }) }, t("shell.nextPage")));
}
