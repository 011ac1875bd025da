// One job: its state, its timeline, the explanation of its state, its result and its history.

import { copyButton } from "./copy.js";
import { areRowsLate } from "./deployment.js";
import { h, panel, put, table } from "./dom.js";
import { ENDS, bar, bytes, count, percent, pretty, stateBadge, stateWord, stepOf } from "./format.js";
import { get, path, serverNow } from "./http.js";
import { children, history, past } from "./job_history.js";
import { jobTable, searchHref } from "./search.js";
import { parts, t } from "./text.js";
import { timelineOf } from "./timeline.js";
import { seconds, when } from "./time.js";
import { watchButton } from "./watch.js";

const EVERY = 2_000;
const EVERY_ENDED = 15_000; // of a job that has ended, which only a further attempt changes
const MAX_RESULT = 1_000_000; // characters shown of a result
const MAX_OPEN = 4_000; // bytes up to which a result is shown unfolded
const SILENT = 900; // seconds without an event, after which that is a warning

export async function job(visit) {
  const [, tenant, kind, id] = visit.parts, where = path("jobs", tenant, kind, id);
  const body = h("div", { class: "stack" }), outcome = h("div"), more = h("div", { class: "stack" });
  document.title = `${id} · jobtrail`;
  let current, result, width = 0;
  const draw = (facts) => {
    if (!body.isConnected) {
      put(visit.main, title(tenant, kind, id), body, outcome, more);
      put(more, children(visit, tenant, id, facts.job?.created_at, jobTable), past(visit, where, facts.events), history(visit, where));
      width = body.clientWidth;
    }
    current = facts;
    put(body, head(facts, kind), lateNotes(facts.explanation), panel(t("job.timeline"), partNote(facts), picture(facts, width)), explanation(facts.explanation));
    const known = facts.job && `${facts.job.entry_id} ${facts.job.result_bytes}`;
    if (known !== result) put(outcome, outcomeOf(visit, facts.job, where));
    result = known;
  };
  const redraw = () => current && draw(current);
  visit.signal.addEventListener("abort", watchWidth(body, (now) => {
    width = now;
    redraw();
  }));
  // The timeline of a running job goes on between its events. The timer starts before the first answer,
  // because the page may be left while that is awaited.
  const timer = setInterval(() => current?.job?.state === "processing" && !document.hidden && document.getSelection().isCollapsed && redraw(), EVERY * 5);
  visit.signal.addEventListener("abort", () => clearInterval(timer));
  await visit.load(where, draw, () => (ENDS.includes(current?.job?.state) ? EVERY_ENDED : EVERY));
}

function watchWidth(node, changed) {
  let width = node.clientWidth;
  const observer = new ResizeObserver(() => {
    if (node.clientWidth === width || node.clientWidth === 0) return;
    width = node.clientWidth;
    changed(width);
  });
  observer.observe(node);
  return () => observer.disconnect();
}

function title(tenant, kind, id) {
  return [
    h("p", { class: "trail" }, h("a", { href: "#/jobs" }, t("jobs.title")), " / ",
      h("a", { href: searchHref({ tenant }), translate: "no" }, tenant), h("span", { translate: "no" }, ` / ${kind}`)),
    h("div", { class: "headline" }, h("h1", { class: "id", translate: "no" }, id), copyButton(id, t("job.id")),
      watchButton({ path: path("jobs", tenant, kind, id), href: location.hash, name: id })),
  ];
}

function head({ job: row, live, events, last_failure: failure }, kind) {
  if (!row) {
    return h("section", { class: "panel" }, h("p", { class: "note" }, t("job.notStored", { kind, status: statusWord(live) })));
  }
  const link = (filter, text) => text && h("a", { href: searchHref(filter), translate: "no" }, text);
  const duration = row.ended_at && row.started_at && (Date.parse(row.ended_at) - Date.parse(row.started_at)) / 1000;
  const facts = [
    ["attempt", String(row.attempt)],
    ["type", link({ job_type: row.job_type }, row.job_type)],
    ["worker", link({ worker: row.worker }, row.worker)],
    ["created", when(row.created_at)],
    ["started", row.started_at && when(row.started_at)],
    ["updated", when(row.updated_at)],
    ["duration", duration !== null && seconds(Math.max(0, duration))],
    ["events", count(events)],
    ["redisStatus", live ? statusWord(live) : t("job.expired")],
  ].filter(([, value]) => value);
  const labels = Object.entries(row.labels ?? {});
  return h("section", { class: "panel now", "aria-label": t("job.stateLabel") },
    h("p", { class: "state" }, stateBadge(row.state, row.status), row.state === "processing" && bar(row.progress)),
    live && live.status !== row.status && areRowsLate() && h("p", { class: "note warn" }, t("job.rowLate", { status: statusWord(live) })),
    row.state === "processing" && running(row),
    row.error && h("div", { class: "copied" },
      row.code && h("p", {}, t("job.code"), " ", h("a", { href: searchHref({ code: row.code }), translate: "no" }, h("code", {}, row.code))),
      copyButton(row.error, t("job.error")), h("p", { class: "error", tabindex: "0", "data-key": "error", translate: "no" }, row.error)),
    failureOf(row, failure),
    row.state === "failed" && h("p", { class: "hint repeat" }, t("job.repeat")),
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, t(`job.${name}`)), h("dd", {}, value)))),
    labels.length > 0 && h("ul", { class: "labels", "aria-label": t("job.labels") }, labels.map(([name, value]) =>
      h("li", {}, h("a", { href: searchHref({ tenant: row.tenant, [`label.${name}`]: value }), translate: "no" }, h("b", {}, name), ` ${value}`)))));
}

/** Return the word for what clients see. */
function statusWord({ status }) {
  return stateWord(status.toLowerCase(), status);
}

/** Show why an attempt that is retried has failed, or what operators alone read about the end. */
function failureOf(row, failure) {
  if (!failure?.text || ["done", "cancelled"].includes(row.state)) return null;
  const own = row.state === "failed";
  if (own && (failure.attempt !== row.attempt || failure.text === row.error)) return null;
  const title = own ? t("job.operatorDetail") : parts("job.lastFailure", { attempt: String(failure.attempt), time: when(failure.at) });
  return h("div", { class: "copied" }, h("p", {}, title), copyButton(failure.text, t("job.error")),
    h("p", { class: "error", tabindex: "0", "data-key": "failure", translate: "no" }, failure.text));
}

/** Show the step of a running job, the estimate, and since when there was no event. */
function running({ progress, entry_id: entry }) {
  const step = stepOf(progress), last = Number(entry.split("-")[0]);
  const silent = (serverNow() - last) / 1000;
  const left = progress?.remaining_seconds;
  return h("ul", { class: "running" },
    step.name && h("li", {}, step.total ? parts("job.stepOf", { name: h("b", { translate: "no" }, step.name), index: String(step.index ?? "?"), total: String(step.total) }) : h("b", { translate: "no" }, step.name),
      step.percent !== null && h("span", { class: "bar" }, " ", h("progress", { value: step.percent, max: 100, "aria-label": t("job.stepProgress") }), ` ${percent(step.percent)}`)),
    typeof left === "number" && h("li", {}, t("job.timeLeft", { time: seconds(Math.round(left)) })),
    h("li", { class: silent > SILENT ? "warn" : null }, parts(silent > SILENT ? "job.silent" : "job.lastEvent", { time: when(last) })));
}

function picture({ timeline, explanation: winner, job: row }, width) {
  const now = row?.state === "processing" ? serverNow() : null;
  return timelineOf(timeline, winner?.entry_id, Math.max(320, width - 44), now);
}

/** Show that the timeline and the explanation leave out events, if the job has too many. */
function partNote({ events, events_read: read }) {
  return read < events && h("p", { class: "note" }, t("job.eventsRead", { read: count(read), total: count(events) }));
}

/** Explain events that came after the end of their attempt, or after a later attempt had begun. */
function lateNotes(found) {
  return (found?.notes ?? []).map((note) => {
    const ended = note.after.attempt === note.attempt;
    const key = !ended ? "job.afterAttempt" : note.attempt < found.attempt ? "job.afterOldEnd" : "job.afterEnd";
    return h("p", { class: "note warn late-note" }, parts(key, {
      count: note.events, attempt: String(note.attempt), type: note.after.type, later: String(note.after.attempt),
      entry: h("code", {}, note.after.entry_id),
      sdk: h("code", { translate: "no" }, 'attempt="next"'), field: h("code", { translate: "no" }, `attempt: ${note.next_attempt}`),
    }));
  });
}

const RULES = { __proto__: null, attempt: "job.ruleAttempt", rank: "job.ruleRank", entry_id: "job.ruleEntry" };

function explanation(found) {
  if (!found) return panel(t("job.explanation"), h("p", { class: "empty" }, t("job.noEvents")));
  const values = { type: h("strong", { translate: "no" }, found.type), attempt: String(found.attempt), entry: h("code", {}, found.entry_id), reason: whyWon(found) };
  return panel(t("job.explanation"),
    h("p", { class: "explanation" }, parts("job.won", values)),
    !found.matches_row && h("p", { class: "note warn" }, t("job.otherEntry")),
    found.superseded.length > 0 && table(t("job.superseded"), [
      { title: t("job.event"), phone: "full", cell: (each) => h("span", {}, parts("job.ofAttempt", { type: h("strong", { translate: "no" }, each.type), attempt: String(each.attempt) })) },
      { title: t("job.entry"), phone: "line", cell: (each) => h("code", {}, each.entry_id) },
      { title: t("job.rule"), phone: "line", cell: (each) => h("span", { class: "rule" }, t(RULES[each.rule])) },
      { title: t("job.reason"), phone: "full", cell: (each) => whyLost(each, found) },
    ], found.superseded, ""));
}

function whyWon({ type, attempt, superseded }) {
  if (!superseded.length) return t("job.onlyEvent");
  const rules = new Set(superseded.map((each) => each.rule));
  return [
    rules.has("attempt") && t("job.highestAttempt", { attempt: String(attempt) }),
    rules.has("rank") && t("job.highestRank", { type }),
    rules.has("entry_id") && t(ENDS.includes(type) ? "job.earliestEnd" : "job.latestEvent"),
  ].filter(Boolean).join("; ");
}

function whyLost(each, winner) {
  const names = { type: each.type, winner: winner.type };
  const reason = each.rule === "attempt" ? t("job.lowerAttempt", { attempt: String(each.attempt), winner: String(winner.attempt) })
    : each.rule === "rank" ? t("job.lowerRank", names)
      : t(ENDS.includes(each.type) ? "job.laterEnd" : "job.earlierEvent");
  return each.late ? `${reason}; ${t("job.afterTheEnd")}` : reason;
}

function outcomeOf(visit, row, where) {
  if (!row || row.result_bytes === null) return null;
  const size = bytes(row.result_bytes);
  if (row.result !== null) {
    return panel(t("job.result"), h("details", { open: row.result_bytes <= MAX_OPEN, "data-key": "result" },
      h("summary", {}, t("job.json", { size })),
      h("div", { class: "copied" }, copyButton(row.result, t("job.result")), h("pre", { tabindex: "0", translate: "no" }, pretty(row.result)))));
  }
  const load = async () => {
    const { result } = await get(`${where}result/`, { signal: visit.signal });
    const cut = result.length > MAX_RESULT;
    put(box, h("div", { class: "copied" }, copyButton(result, t("job.result")),
      h("pre", { tabindex: "0", translate: "no" }, pretty(cut ? result.slice(0, MAX_RESULT) : result))),
      cut && h("p", { class: "hint" }, t("job.truncated")));
  };
  const box = h("div", {}, h("button", { type: "button", onclick: () => load().catch((error) => visit.failed(error)) }, t("job.loadResult", { size })));
  return panel(t("job.result"), box);
}
