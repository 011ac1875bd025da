// One job: its state, its timeline, the explanation of its state, its result and its history.

import { h, panel, put, table } from "./dom.js";
import { ago, badge, bar, bytes, count, exact, moment, pretty, seconds } from "./format.js";
import { get, path } from "./http.js";
import { timelineChart } from "./plots.js";

const EVERY = 2_000;
const MAX_RESULT = 1_000_000; // characters shown of a result
const MAX_OPEN = 4_000; // bytes up to which a result is shown unfolded

export async function job(visit) {
  const [, tenant, kind, id] = visit.parts, where = path("jobs", tenant, kind, id);
  const body = h("div", { class: "stack" }), past = history(visit, where), outcome = h("div");
  document.title = `${id} · jobtrail`;
  let current, result;
  const draw = (facts) => {
    put(body, head(facts, kind), panel("Timeline", picture(facts, body.clientWidth)), explanation(facts));
    const known = facts.job && `${facts.job.entry_id} ${facts.job.result_bytes}`;
    if (known !== result) put(outcome, outcomeOf(facts.job, where));
    result = known;
  };
  visit.signal.addEventListener("abort", watchWidth(body, () => current && draw(current)));
  await visit.live(async () => {
    const facts = await get(where, { signal: visit.signal });
    if (!body.isConnected) put(visit.main, title(tenant, kind, id), body, outcome, past);
    if (facts !== current) draw(facts);
    current = facts;
  }, EVERY);
}

function watchWidth(node, redraw) {
  let width = node.clientWidth;
  const observer = new ResizeObserver(() => {
    if (node.clientWidth === width) return;
    width = node.clientWidth;
    redraw();
  });
  observer.observe(node);
  return () => observer.disconnect();
}

function title(tenant, kind, id) {
  return [
    h("p", { class: "trail" }, h("a", { href: "#/jobs" }, "Jobs"), " / ", h("a", { href: `#/jobs?tenant=${tenant}` }, tenant), ` / ${kind}`),
    h("h1", { class: "id" }, id),
  ];
}

function head({ job: row, live, events }, kind) {
  if (!row) {
    return h("section", { class: "panel" }, h("p", { class: "note" },
      `PostgreSQL does not have this ${kind} yet; its status in Redis is ${live.status}.`));
  }
  const facts = [
    ["Attempt", String(row.attempt)],
    ["Type", row.job_type],
    ["Worker", row.worker],
    ["Created", ago(row.created_at)],
    ["Started", row.started_at && ago(row.started_at)],
    ["Updated", ago(row.updated_at)],
    ["Duration", row.ended_at && row.started_at && seconds(Math.max(0, (Date.parse(row.ended_at) - Date.parse(row.started_at)) / 1000))],
    ["Events", count(events)],
    ["Status in Redis", live ? live.status : "none (expired)"],
  ].filter(([, value]) => value);
  const labels = Object.entries(row.labels ?? {});
  return h("section", { class: "panel now", "aria-label": "State" },
    h("p", { class: "state" }, badge(row.state, row.status), row.state === "processing" && bar(row.progress)),
    row.error && h("p", { class: "error", tabindex: "0", "data-key": "error" }, row.code && h("code", {}, row.code), " ", row.error),
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    labels.length > 0 && h("ul", { class: "labels" }, labels.map(([name, value]) => h("li", {}, h("b", {}, name), ` ${value}`))));
}

function picture({ timeline, explanation: winner }, width) {
  return h("div", { class: "scroll lives" }, timelineChart(timeline, winner?.entry_id, Math.max(320, width - 44)));
}

const RULES = { __proto__: null, attempt: "1 attempt", rank: "2 rank", entry_id: "3 entry id" };

function explanation({ explanation: found }) {
  if (!found) return panel("Explanation", h("p", { class: "empty" }, "The history has no events of this job."));
  return panel("Explanation",
    h("p", { class: "explanation" }, h("strong", {}, found.type), " of attempt ", String(found.attempt), " won (entry ", h("code", {}, found.entry_id), "): ", found.reason, "."),
    !found.matches_row && h("p", { class: "note warn" }, "The stored row has another entry: older history was deleted, or an event has just arrived."),
    found.notes.map(({ text }) => h("p", { class: "note warn" }, text)),
    found.superseded.length > 0 && table("Superseded events", [
      { title: "Event", cell: (each) => h("span", {}, h("strong", {}, each.type), ` of attempt ${each.attempt}`) },
      { title: "Entry", cell: (each) => h("code", {}, each.entry_id) },
      { title: "Rule", cell: (each) => h("span", { class: "rule" }, RULES[each.rule]) },
      { title: "Reason", cell: (each) => each.reason },
    ], found.superseded, ""));
}

function outcomeOf(row, where) {
  if (!row || row.result_bytes === null) return null;
  const size = ` ${bytes(row.result_bytes)}`;
  if (row.result !== null) {
    return panel("Result", h("details", { open: row.result_bytes <= MAX_OPEN, "data-key": "result" },
      h("summary", {}, `JSON,${size}`), h("pre", { tabindex: "0" }, pretty(row.result))));
  }
  const box = h("div", {}, h("button", { type: "button", onclick: async () => {
    const { result } = await get(`${where}result/`);
    const cut = result.length > MAX_RESULT;
    put(box, h("pre", { tabindex: "0" }, pretty(cut ? result.slice(0, MAX_RESULT) : result)),
      cut && h("p", { class: "hint" }, "The result is truncated here; the API returns all of it."));
  } }, `Load the result (${size.trim()})`));
  return panel("Result", box);
}

function history(visit, where) {
  const rows = h("tbody"), more = h("p", { class: "pages" });
  const load = async (cursor) => {
    const facts = await get(`${where}history/?limit=50${cursor ? `&cursor=${cursor}` : ""}`, { signal: visit.signal });
    rows.append(...facts.items.map(event));
    put(more, facts.next_cursor && h("button", { type: "button", onclick: () => load(facts.next_cursor).catch((error) => visit.failed(error)) }, "More events"));
  };
  const box = h("details", { class: "panel", "data-key": "history" }, h("summary", {}, h("h2", {}, "History")),
    h("div", { class: "scroll" }, h("table", {},
      h("caption", { class: "unseen" }, "Events in the order of the stream"),
      h("thead", {}, h("tr", {}, ["Entry", "Time", "Event"].map((each) => h("th", { scope: "col" }, each)))),
      rows)), more);
  box.addEventListener("toggle", () => {
    if (!box.open) return;
    rows.replaceChildren();
    load().catch((error) => visit.failed(error));
  });
  return box;
}

function event({ entry_id, event: text, appended }) {
  return h("tr", {},
    h("td", { "data-label": "Entry" }, h("code", {}, entry_id)),
    h("td", { "data-label": "Time" }, when(Number(entry_id.split("-")[0]))),
    h("td", { "data-label": "Event" }, h("code", { class: "event" }, text), appended > 1 && h("small", {}, ` appended ${appended} times`)));
}

function when(ms) {
  return h("time", { datetime: new Date(ms).toISOString(), title: exact(ms) }, moment(ms));
}
