// Dead letters: entries that could not be applied. They can be viewed, requeued and discarded.

import { confirmed, h, panel, put, table, toast } from "./dom.js";
import { ago, bytes, count, pretty } from "./format.js";
import { get, path, post } from "./http.js";

const EVERY = 5_000;

export async function dead(visit) {
  const tenant = visit.query.get("tenant"), cursor = visit.query.get("cursor");
  const page = new URLSearchParams([["tenant", tenant], ["cursor", cursor]].filter(([, value]) => value));
  const body = h("div", { class: "stack" });
  let current;
  await visit.live(async () => {
    const facts = await get(`dead/?${page}`, { signal: visit.signal });
    if (!body.isConnected) {
      put(visit.main, h("h1", {}, "Dead letters"),
        h("p", { class: "lead" }, tenant ? `Dead letters of tenant ${tenant}. ` : "The latest dead letters of all tenants. ", "Fix the cause, then requeue the entry."), body);
    }
    if (facts !== current) put(body, tenantLinks(facts.tenants, tenant), panel(null, list(facts, visit), pages(facts, tenant, cursor)));
    current = facts;
  }, EVERY);
}

function tenantLinks(tenants, chosen) {
  if (!tenants.length) return null;
  return h("p", { class: "choice" },
    h("a", { href: "#/dead", "aria-current": !chosen && "true" }, "All"),
    tenants.slice(0, 30).map((each) =>
      h("a", { href: `#/dead?tenant=${encodeURIComponent(each.tenant)}`, "aria-current": each.tenant === chosen && "true" },
        each.tenant, h("small", {}, ` ${count(each.letters)}`))));
}

function list({ items }, visit) {
  return table("Dead letters", [
    { title: "Dead since", cell: (each) => ago(each.rejected_at) },
    { title: "Tenant", wide: true, cell: (each) => each.tenant },
    { title: "Entry", cell: (each) => h("a", { class: "unbroken", href: href(each) }, each.id) },
    { title: "Groups", cell: (each) => each.group },
    { title: "Reason", cell: (each) => h("span", { class: "badge is-failed" }, each.reason) },
    { title: "Detail", wide: true, cell: (each) => h("span", { class: "detail" }, each.detail) },
    { title: "Size", num: true, cell: (each) => bytes(each.bytes) },
    { title: "Action", cell: (each) => buttons(each, () => visit.refresh()) },
  ], items, "There are no dead letters.");
}

function href(each) {
  return `#/dead/${encodeURIComponent(each.tenant)}/${each.id}`;
}

function pages({ next_cursor: next }, tenant, cursor) {
  const to = (after) => `#/dead?${new URLSearchParams([["tenant", tenant], ["cursor", after]].filter(([, value]) => value))}`;
  return h("p", { class: "pages" },
    cursor && h("a", { href: to(null) }, "First page"),
    next && h("a", { href: to(next) }, "Next page"));
}

function buttons(each, after) {
  if (!each.known_tenant) return h("span", { class: "hint" }, "the tenant's name is not valid; use jobtrail dead discard");
  const act = async (verb, dialog) => {
    if (!(await confirmed(dialog))) return;
    try {
      const result = await post(path("dead", each.tenant, each.id, verb));
      toast(verb === "requeue" ? `Requeued as entry ${result.entry_id}.` : "Discarded.");
    } catch (error) {
      toast(error.message);
    }
    after();
  };
  return h("span", { class: "buttons" },
    h("button", { type: "button", "data-key": `requeue ${each.id}`, "aria-label": `Requeue dead letter ${each.id}`, onclick: () => act("requeue", {
      title: "Requeue this entry?",
      text: `Entry ${each.id} is appended to the stream of tenant ${each.tenant} again, and the dead letter is deleted, in one step. If the cause is not fixed, it becomes a dead letter again.`,
      action: "Requeue",
    }) }, "Requeue"),
    h("button", { type: "button", class: "danger", "data-key": `discard ${each.id}`, "aria-label": `Discard dead letter ${each.id}`, onclick: () => act("discard", {
      title: "Discard this entry permanently?",
      text: `Entry ${each.id} of tenant ${each.tenant} is deleted and will never be applied. This cannot be undone.`,
      action: "Discard", danger: true,
    }) }, "Discard"));
}

export async function letter(visit) {
  const [, tenant, id] = visit.parts;
  const each = await get(path("dead", tenant, id), { signal: visit.signal });
  const facts = [
    ["Tenant", each.tenant], ["Entry", each.entry_id], ["Dead since", ago(each.rejected_at)], ["Size", bytes(each.bytes)],
    ...each.rejections.map((rejection) => [`Group ${rejection.group}`, `${rejection.reason}: ${rejection.detail} (delivered ${count(rejection.deliveries)} times)`]),
    ...(each.sha256 ? [["SHA-256", each.sha256]] : []),
  ];
  put(visit.main,
    h("p", { class: "trail" }, h("a", { href: "#/dead" }, "Dead letters"), " / ", h("a", { href: `#/dead?tenant=${encodeURIComponent(tenant)}` }, tenant)),
    h("h1", { class: "id" }, each.id),
    h("div", { class: "stack" },
      h("section", { class: "panel", "aria-label": "Dead letter" },
        h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
        buttons(each, () => {
          location.hash = `#/dead?tenant=${encodeURIComponent(tenant)}`;
        })),
      panel("Event", each.event ? content(each.event) : h("p", { class: "empty" }, "The entry has no field named event."),
        each.cut && h("p", { class: "hint" }, each.sha256 ? "The entry was too large; only its beginning was kept." : "The event is truncated here; jobtrail dead show prints all of it.")),
      each.others.length > 0 && panel("Other fields", each.others.map((field) =>
        h("div", {}, content(field.name), content(field.value))))));
}

function content({ text, base64 }) {
  if (base64 !== undefined) return h("div", {}, h("p", { class: "hint" }, "Not UTF-8 text; shown in base64:"), h("pre", { tabindex: "0" }, base64));
  return h("pre", { tabindex: "0" }, /^\s*[[{]/.test(text) ? pretty(text) : text);
}
