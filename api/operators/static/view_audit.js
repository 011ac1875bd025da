// The audit log: what operators have changed, when, and what happened.

import { h, panel, put, table } from "./dom.js";
import { ago, count } from "./format.js";
import { get } from "./http.js";
import { outcomeCell } from "./letter_actions.js";
import { queryOf } from "./letter_filters.js";
import { known, t } from "./text.js";
import { goTo } from "./visit.js";

const EVERY = 10_000; // milliseconds
const FILTERS = ["actor", "action", "tenant", "request_id"];

export async function audit(visit) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, visit.query.get(name)]).filter(([, value]) => value));
  const cursor = visit.query.get("cursor"), body = h("div"), opened = new Map();
  await visit.load(`actions/requests/?${queryOf(filters, { cursor })}`, (facts) => {
    if (!body.isConnected) {
      put(visit.main, h("h1", {}, t("audit.title")), h("p", { class: "lead" }, t("audit.lead")), filterForm(filters), body);
    }
    const nothing = t(Object.keys(filters).length ? "audit.noMatch" : "audit.none");
    put(body, panel(null, table(t("audit.title"), columns(visit, filters, opened), facts.items, nothing), pages(filters, cursor, facts.next_cursor)));
  }, cursor ? EVERY * 6 : EVERY);
}

function address(...values) {
  return `#/audit?${queryOf(...values)}`;
}

function columns(visit, filters, opened) {
  const link = (name, value) => h("a", { href: address(filters, { [name]: value }), translate: "no" }, value);
  return [
    { title: t("audit.when"), cell: (each) => ago(each.at) },
    { title: t("audit.who"), wide: true, cell: (each) => [
      each.actor === null ? t("audit.unnamed") : link("actor", each.actor), " ",
      h("small", {}, [t(`audit.via.${each.via}`), each.actor_tenant && t("audit.ofTenant", { tenant: each.actor_tenant }), each.address].filter(Boolean).join(" · ")),
    ] },
    { title: t("audit.action"), cell: (each) => h("a", { href: address(filters, { action: each.action }) }, word(each.action)) },
    { title: t("audit.target"), wide: true, cell: target },
    { title: t("audit.outcome"), wide: true, cell: (each) => outcome(each, visit, opened) },
    { title: t("audit.request_id"), cell: (each) => h("a", { class: "request", href: address({ request_id: each.request_id }), translate: "no" }, each.request_id.slice(0, 8)) },
  ];
}

/** Return the text of an action or an outcome; one of a newer server is shown as it is. */
function word(name) {
  return known(`audit.${name}`) ? t(`audit.${name}`) : name;
}

function target({ tenants, tenant_count: number, steps, target: { letter, letters, filters, ...others } }) {
  const where = number === 0 ? t("audit.allTenants") : h("span", { translate: "no" }, tenants.join(", "), number > tenants.length && " …");
  if (letter && steps > 1) return [where, " ", h("span", { class: "detail" }, t("audit.chosen", { count: steps }))];
  const rest = Object.entries({ ...filters, ...others }).filter(([name, value]) => value !== null && !["tenant", "after", "limit"].includes(name));
  const what = letter ? [letter] : letters ?? rest.map(([name, value]) => `${name}: ${name === "until" ? timeOf(value) : String(value)}`);
  return [where, " ", h("span", { class: "detail", translate: "no" }, what.join(", ") || t("audit.everything"))];
}

/** Return a time in milliseconds as RFC 3339, or as it is if no date is that far away. */
function timeOf(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? String(ms) : at.toISOString();
}

function outcome(each, visit, opened) {
  const { outcomes, counts, steps, whole } = each;
  const sum = Object.values(counts).reduce((all, number) => all + number, 0);
  return [
    outcomes.map(({ outcome: name, steps: number }) => [mark(name, outcomes.length > 1 && number), " "]), countsText(counts),
    !whole && h("p", { class: "hint" }, t("audit.notWhole")),
    (steps > 1 || sum > 0) && stepsOf(each, sum, visit, opened),
  ];
}

function mark(name, number = false) {
  const text = name === null ? t("audit.interrupted") : word(name);
  return h("span", { class: name === null ? "badge is-cancelled" : "badge" }, text, number && ` ${count(number)}`);
}

function countsText(counts) {
  return Object.entries(counts ?? {}).map(([each, number]) => `${known(`dead.outcome.${each}`) ? t(`dead.outcome.${each}`) : each} ${count(number)}`).join(", ");
}

/** Make the steps of a request, which are loaded once they are opened; an open list stays while the page is drawn anew. */
function stepsOf(each, sum, visit, opened) {
  const key = `${each.request_id} ${each.id} ${each.ended_at}`;
  if (opened.has(key)) return opened.get(key);
  const body = h("div", { class: "steps" }, h("p", { class: "hint" }, t("shell.loading")));
  let begun = false;
  const node = h("details", { "data-key": `steps ${each.request_id} ${each.at}`, ontoggle: () => {
    if (node.open && !begun) load();
  } }, h("summary", {}, [sum > 0 && t("audit.letters", { count: sum }), each.steps > 1 && t("audit.steps", { count: each.steps })].filter(Boolean).join(", ")), body);
  const load = async (cursor = null, shown = []) => {
    begun = true;
    try {
      // A request is only listed with what it did, and by an action: others may have chosen the same id.
      const { request_id, action, actor } = each;
      const tenant = visit.query.get("tenant"); // then only the steps of this tenant are counted
      const facts = await get(`actions/?${queryOf({ request_id, action, actor, tenant, cursor })}`, { signal: visit.signal, keep: false });
      const steps = [...shown, ...facts.items.filter((step) => step.id <= each.id && step.actor === actor)];
      const complete = steps.length >= each.steps || facts.next_cursor === null;
      put(body, steps.slice(0, each.steps).map((step) => stepOf(step, each.steps > 1)),
        !complete && h("button", { type: "button", "data-key": "more-steps", onclick: () => load(facts.next_cursor, steps) }, t("audit.moreSteps")));
    } catch (error) {
      begun = false;
      if (!visit.signal.aborted) put(body, h("p", { class: "note bad", role: "alert" }, error.message));
    }
  };
  opened.set(key, node);
  return node;
}

function stepOf({ at, outcome: name, details }, isOneOfMany) {
  const letters = details?.letters ?? [];
  return h("div", {},
    isOneOfMany && h("p", {}, ago(at), " ", mark(name), " ", countsText(details?.counts)),
    letters.length > 0 && h("ul", { class: "cases" }, letters.map((each) => h("li", {}, h("span", { translate: "no" }, `${each.tenant} ${each.id} `), outcomeCell(each)))));
}

function filterForm(filters) {
  const form = h("form", { class: "filters letter-filters", role: "search", onsubmit: (event) => {
    event.preventDefault();
    goTo(address(Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]))));
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
