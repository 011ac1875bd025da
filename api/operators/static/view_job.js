// One job: where it stands, its life as a picture, why it stands so, what came of it.

import { h, panel, put, table } from "./dom.js";
import { ago, badge, bar, bytes, count, exact, moment, pretty, seconds } from "./format.js";
import { get, path } from "./http.js";
import { life } from "./plots.js";

const EVERY = 2_000;
const SHOWN = 1_000_000;
const FEW = 4_000;

export async function job(visit) {
  const [, tenant, kind, id] = visit.parts, where = path("jobs", tenant, kind, id);
  const body = h("div", { class: "stack" }), past = history(visit, where), outcome = h("div");
  document.title = `${id} · jobtrail`;
  let shown, result;
  const draw = (facts) => {
    put(body, head(facts, kind), panel("Life", picture(facts, body.clientWidth)), why(facts));
    const known = facts.job && `${facts.job.entry_id} ${facts.job.result_bytes}`;
    if (known !== result) put(outcome, whole(facts.job, where));
    result = known;
  };
  visit.signal.addEventListener("abort", watchWidth(body, () => shown && draw(shown)));
  await visit.live(async () => {
    const facts = await get(where, { signal: visit.signal });
    if (!body.isConnected) put(visit.main, title(tenant, kind, id), body, outcome, past);
    if (facts !== shown) draw(facts);
    shown = facts;
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
      `PostgreSQL has no row of this ${kind} yet; Redis says ${live.status}.`));
  }
  const facts = [
    ["Attempt", String(row.attempt)],
    ["Type", row.job_type],
    ["Worker", row.worker],
    ["Created", ago(row.created_at)],
    ["Started", row.started_at && ago(row.started_at)],
    ["Updated", ago(row.updated_at)],
    ["Took", row.ended_at && row.started_at && seconds(Math.max(0, (Date.parse(row.ended_at) - Date.parse(row.started_at)) / 1000))],
    ["Events", count(events)],
    ["Redis serves", live ? live.status : "nothing (expired)"],
  ].filter(([, value]) => value);
  const labels = Object.entries(row.labels ?? {});
  return h("section", { class: "panel now", "aria-label": "State" },
    h("p", { class: "state" }, badge(row.state, row.status), row.state === "processing" && bar(row.progress)),
    row.error && h("p", { class: "error", tabindex: "0", "data-key": "error" }, row.code && h("code", {}, row.code), " ", row.error),
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    labels.length > 0 && h("ul", { class: "labels" }, labels.map(([name, value]) => h("li", {}, h("b", {}, name), ` ${value}`))));
}

function picture({ timeline, explanation: reason }, width) {
  return h("div", { class: "scroll lives" }, life(timeline, reason?.entry_id, Math.max(320, width - 44)));
}

const RULES = { __proto__: null, attempt: "1 attempt", rank: "2 rank", entry_id: "3 entry id" };

function why({ explanation: reason }) {
  if (!reason) return panel("Why this state", h("p", { class: "empty" }, "The history holds no events of this job."));
  return panel("Why this state",
    h("p", { class: "verdict" }, h("strong", {}, reason.type), " of attempt ", String(reason.attempt), " won (entry ", h("code", {}, reason.entry_id), "): ", reason.reason, "."),
    !reason.matches_row && h("p", { class: "note warn" }, "The row names another entry: the history was dropped by its age, or something came in this moment."),
    reason.superseded.length > 0 && table("What lost", [
      { title: "Lost", cell: (each) => h("span", {}, h("strong", {}, each.type), ` of attempt ${each.attempt}`) },
      { title: "Entry", cell: (each) => h("code", {}, each.entry_id) },
      { title: "By rule", cell: (each) => h("span", { class: "rule" }, RULES[each.rule]) },
      { title: "Because", cell: (each) => each.reason },
    ], reason.superseded, ""));
}

function whole(row, where) {
  if (!row || row.result_bytes === null) return null;
  const size = ` ${bytes(row.result_bytes)}`;
  if (row.result !== null) {
    return panel("Result", h("details", { open: row.result_bytes <= FEW, "data-key": "result" },
      h("summary", {}, `JSON,${size}`), h("pre", { tabindex: "0" }, pretty(row.result))));
  }
  const box = h("div", {}, h("button", { type: "button", onclick: async () => {
    const { result } = await get(`${where}result/`);
    const cut = result.length > SHOWN;
    put(box, h("pre", { tabindex: "0" }, pretty(cut ? result.slice(0, SHOWN) : result)),
      cut && h("p", { class: "hint" }, "The rest is left out here; the API gives the whole of it."));
  } }, `Load the result,${size}`));
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
      h("caption", { class: "unseen" }, "Events in the order of the log"),
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
