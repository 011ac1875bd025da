// The overview: alerts and health, then the figures of jobs, and then those of delivery.

import { takeOverview } from "./deployment.js";
import { h, panel, put, table } from "./dom.js";
import { ago, bar, count, jobHref, percent, rate, seconds } from "./format.js";
import { forecastOf, forecastText } from "./forecast.js";
import { LATE, failureTone, groupsOf, healthOf, isBehind, overdueSample } from "./health.js";
import { get } from "./http.js";
import { pastIssues } from "./past_issues.js";
import { known, parts, t } from "./text.js";
import { chartSection } from "./view_charts.js";

const EVERY = 5_000;
const SIGNS = { good: "✓", warn: "!", bad: "✕" };
const MAX_TYPES = 12;
const FULL = 0.8; // the share of the limit of memory from which it is a warning

export async function overview(visit) {
  const charts = chartSection(visit), top = h("div", { class: "stack" }), rest = h("div", { class: "stack" });
  const page = h("div", { class: "stack" }, top, charts.node, rest);
  const ask = (path) => get(path, { signal: visit.signal });
  await visit.live(async () => {
    // PostgreSQL alone may be missing: its figures are then, and the rest is shown.
    const asked = [ask("overview/"), orError(ask("figures/")), ask("alerts/"), pastIssues(visit.signal)];
    const [facts, figures, alerts, past] = await Promise.all(asked);
    const behind = isBehind(facts) ? await ask("tenants/?order=lag&limit=1").catch(() => null) : null;
    const found = healthOf(facts, figures, behind, past);
    takeOverview(facts, figures);
    if (!page.isConnected) put(visit.main, h("h1", {}, t("overview.title")), page);
    put(top, alertSection(alerts), health(found), tiles(facts, figures), byType(figures), slowest(figures));
    put(rest, groups(facts.samples), consumers(facts), servers(facts.servers));
    document.title = `${SIGNS[found.tone]} ${t("overview.title")} · jobtrail`;
    await charts.update();
  }, EVERY);
}

/** Return the answer, or {error} if a server is missing for it. */
function orError(answer) {
  return answer.catch((error) => {
    if (error.status !== 503) throw error;
    return { error: error.message };
  });
}

function alertSection({ configured, error, alerts }) {
  if (!configured) return null;
  if (error) return h("p", { class: "note warn", "data-alerts": "unknown" }, t("overview.alertsUnknown", { error }));
  if (!alerts.length) return null;
  return h("section", { class: "alerts", "aria-label": t("overview.alerts") }, h("ul", {}, alerts.map((each) =>
    h("li", { class: each.state === "firing" && each.pages ? "bad" : "warn" },
      h("strong", {}, t(each.state === "firing" ? "overview.firing" : "overview.pending")),
      h("span", { translate: "no" }, each.summary), h("code", {}, each.name), ago(each.since)))));
}

function health({ tone, text, issues }) {
  return h("section", { class: `health ${tone}`, "aria-label": t("overview.health") },
    h("p", {}, h("span", { class: "sign-of", "aria-hidden": "true" }, SIGNS[tone]), h("strong", {}, text)),
    issues.length > 0 && h("ul", {}, issues.map((each) =>
      h("li", { class: each.tone }, h("a", { href: each.href }, each.text), times(each),
        each.help && [" ", h("a", { class: "what-to-do", href: each.help }, t("help.link"))]))),
    h("a", { class: "what-to-do past", href: "#/issues" }, t("health.past")));
}

/** Show since when an issue lasts, and when something failed last. */
function times({ since, isOlder, last }) {
  const known = [since && (isOlder ? t("health.sinceLong") : parts("health.since", { time: ago(since) })), last && parts("overview.lastFailed", { time: ago(last) })].filter(Boolean);
  return known.length > 0 && [" ", h("small", { class: "since" }, known.map((each, index) => [index > 0 && ", ", each]))];
}

function tiles({ samples, servers: all }, figures) {
  if (figures.error) return h("p", { class: "note bad" }, `${figures.error} ${t("overview.noFigures")}`);
  const { now, lately, stalled } = figures, ended = lately.done + lately.failed;
  const isStill = all.some((each) => each.name === "redis" && !each.ok);
  const share = ended ? t("overview.ofEnded", { percent: shareText(lately.failed / ended) }) : t("overview.noneEnded");
  const dead = samples?.dead ?? null;
  const stalledCount = `${count(stalled.count)}${stalled.more ? "+" : ""}`;
  return [isStill && h("p", { class: "note warn" }, t("overview.still")), h("div", { class: "tiles of-jobs" },
    tile(t("overview.queued"), count(now.queued), "#/jobs?state=queued", null, t("overview.createdLately", { count: lately.created, shown: count(lately.created) })),
    tile(t("overview.processing"), count(now.processing), "#/jobs?state=processing", null, t("overview.atWork")),
    tile(t("overview.silent"), stalledCount, "#/stalled", stalled.count > 0 && "warn", t("overview.silentLately", { count: stalled.lately, shown: count(stalled.lately), time: seconds(stalled.after_seconds) })),
    tile(t("overview.done"), count(lately.done), "#/jobs?state=done", null, t("overview.total", { shown: count(now.done) })),
    tile(t("overview.failed"), count(lately.failed), "#/jobs?state=failed", figures.types.some(failureTone) && "bad", share),
    tile(t("overview.cancelled"), count(lately.cancelled), "#/jobs?state=cancelled", null, t("overview.total", { shown: count(now.cancelled) })),
    tile(t("overview.dead"), count(dead), "#/dead", dead > 0 && "warn", t("overview.deadHint")))];
}

function tile(name, figure, href, tone, hint) {
  return h("a", { class: `tile ${tone || ""}`, href },
    h("span", { class: "name" }, name), " ", h("span", { class: "figure" }, figure), " ", h("span", { class: "hint" }, hint));
}

function byType(figures) {
  if (figures.error) return null;
  const of = (each) => (each.job_type === null ? {} : { job_type: each.job_type });
  const search = (each, more = {}) => `#/jobs?${new URLSearchParams({ kind: each.kind, ...of(each), ...more })}`;
  const number = (each, name, state) => (each[name] ? h("a", { href: search(each, { state }) }, count(each[name])) : "0");
  const code = (each, { code: name, count: n }) => h("li", {}, name === null ? t("overview.noCode")
    : h("a", { href: search(each, { state: "failed", code: name }), translate: "no" }, name), h("small", {}, ` ${count(n)}`));
  const shown = figures.types.slice(0, MAX_TYPES);
  return panel(t("overview.byType"), table(t("overview.byType"), [
    { title: t("overview.type"), wide: true, phone: "full", cell: (each) => h("span", { class: "job" }, h("a", { href: search(each), translate: "no" }, each.job_type ?? t("overview.noType")), h("small", {}, each.kind)) },
    { title: t("overview.queued"), num: true, phone: "fact", cell: (each) => number(each, "queued", "queued") },
    { title: t("overview.processing"), num: true, phone: "fact", cell: (each) => number(each, "processing", "processing") },
    { title: t("overview.endedDone"), num: true, phone: "fact", cell: (each) => number(each, "finished", "done") },
    { title: t("overview.endedFailed"), num: true, phone: "fact", cell: (each) => number(each, "failed", "failed") },
    { title: t("overview.failureRate"), num: true, phone: "fact", cell: (each) => h("span", {}, each.failure_rate === null ? "–" : shareText(each.failure_rate)) },
    { title: t("overview.recentFailures"), phone: "fact-full", cell: recentFailures },
    { title: t("overview.codes"), wide: true, phone: "fact-full", cell: (each) => each.codes.length > 0 && h("ul", { class: "codes" }, each.codes.map((found) => code(each, found))) },
    { title: t("overview.half"), num: true, phone: "fact", cell: (each) => seconds(each.p50_seconds) },
    { title: t("overview.nearlyAll"), num: true, phone: "fact", cell: (each) => seconds(each.p95_seconds) },
  ], shown, t("overview.noTypes")),
  shown.length > 0 && h("p", { class: "hint" }, t("overview.typesHint"), figures.types.length > shown.length || figures.more_types ? ` ${t("overview.moreTypes")}` : ""));
}

/** Show the failures of the last minutes, or the latest one before: whether it goes on. */
function recentFailures(each) {
  const { recent } = each;
  if (!recent) return "–";
  if (!recent.failed) return h("span", { class: "hint" }, parts("overview.lastFailed", { time: ago(recent.last_failed_at) }));
  return h("div", { class: "lines" },
    h("span", { class: failureTone(each) ? "bad-text" : null },
      t("overview.failedOf", { failed: count(recent.failed), ended: count(recent.failed + recent.done) })),
    h("small", {}, parts("overview.lastFailed", { time: ago(recent.last_failed_at) })));
}

function slowest(figures) {
  if (figures.error) return null;
  return panel(t("overview.slowest"), table(t("overview.slowest"), [
    { title: t("overview.running"), phone: "line", cell: (job) => ago(job.started_at) },
    { title: t("overview.job"), wide: true, phone: "full", cell: (job) => h("span", { class: "job" }, h("a", { href: jobHref(job), translate: "no" }, job.id), h("small", {}, job.kind)) },
    { title: t("overview.tenant"), wide: true, phone: "line", cell: (job) => h("a", { href: `#/tenants/${job.tenant}`, translate: "no" }, job.tenant) },
    { title: t("overview.type"), phone: "line", cell: (job) => h("span", { translate: "no" }, job.job_type ?? "–") },
    { title: t("overview.progress"), wide: true, phone: "full", cell: (job) => bar(job.progress) },
    { title: t("overview.worker"), wide: true, phone: "hide", cell: (job) => h("span", { translate: "no" }, job.worker ?? "–") },
  ], figures.slowest, t("overview.noneRunning")));
}

/** Format a share: 12 %, 0.4 %. */
function shareText(share) {
  const value = share * 100;
  return percent(value >= 9.95 || value === 0 ? Math.round(value) : Math.max(0.1, value).toFixed(1));
}

function groups(samples) {
  if (!samples) return panel(t("overview.groups"), h("p", { class: "note bad" }, t("overview.noSamples")));
  const overdue = overdueSample(samples);
  // An overdue figure is not shown as the current one.
  const last = (values) => (overdue === null && values.length ? values[values.length - 1] : null);
  return h("div", { class: "groups" }, Object.entries(samples.groups).map(([name, group]) => {
    const age = last(group.oldest_seconds), key = `overview.group-${name}`;
    const trend = age > LATE.warn ? forecastText(forecastOf(samples.at, group)) : "";
    return h("section", { class: "panel group", "aria-label": t("overview.group", { name }) },
      h("header", {}, h("h2", { translate: "no" }, name), h("p", { class: "hint" }, known(key) ? t(key) : "")),
      h("dl", { class: "figures" },
        figure(t("overview.throughput"), rate(last(group.rate)), t("overview.entriesPerSecond")),
        figure(t("overview.waiting"), count(last(group.waiting)), t("overview.entries")),
        figure(t("overview.atConsumers"), count(last(group.pending)), t("overview.entries")),
        figure(t("overview.oldest"), seconds(age), t("overview.unprocessed"), age > LATE.bad ? "bad" : age > LATE.warn && "warn")),
      trend && h("p", { class: "trend" }, trend));
  }));
}

function figure(name, value, unit, tone) {
  return h("div", { class: tone || null }, h("dt", {}, name), h("dd", {}, value, h("small", {}, ` ${unit}`)));
}

function consumers(facts) {
  const { consumers: all } = facts, served = groupsOf(facts);
  const without = new Set(served.filter((each) => !each.alive).map((each) => each.name));
  // One that is gone is no trouble where another one of its group is alive.
  const tone = (each) => (each.alive ? (each.waits_for ? "is-cancelled" : "is-done") : without.has(each.group) ? "is-failed" : "");
  const word = (each) => (each.alive ? t(each.waits_for ? "overview.waitsFor" : "overview.alive", { server: each.waits_for }) : each.left ? parts("overview.stopped", { time: ago(each.left) }) : t("overview.notAlive"));
  const alive = (each) => h("span", { class: `badge ${tone(each)}` }, word(each));
  const lead = all && t("overview.served", { served: served.filter((each) => each.alive).length, groups: served.length });
  return panel(t("overview.consumers"), lead && h("p", { class: "hint" }, lead), table(t("overview.consumers"), [
    { title: t("overview.ofGroup"), phone: "lead", cell: (each) => h("strong", { translate: "no" }, each.group) },
    { title: t("overview.state"), phone: "lead", cell: alive },
    { title: t("overview.name"), phone: "line", cell: (each) => h("code", {}, each.name) },
    { title: t("overview.host"), phone: "fact", cell: (each) => h("span", { translate: "no" }, each.host) },
    { title: t("overview.process"), num: true, phone: "fact", cell: (each) => String(each.pid) },
    { title: t("overview.started"), phone: "fact", cell: (each) => ago(each.since) },
    { title: t("overview.heartbeat"), phone: "fact", cell: (each) => ago(each.beat) },
    { title: t("overview.applied"), num: true, phone: "fact", cell: (each) => count(each.applied) },
  ], all ?? [], t(all ? "overview.noConsumers" : "overview.noSamples")));
}

function servers(all) {
  return panel(t("overview.servers"), h("ul", { class: "servers" }, all.map((each) =>
    h("li", { class: toneOf(each) }, h("strong", { translate: "no" }, each.name),
      h("span", { translate: "no" }, each.ok ? each.description : t("overview.unavailable")),
      memory(each)))));
}

function toneOf({ ok, refuses_writes: refuses, used_bytes: used, max_bytes: limit }) {
  if (!ok || refuses) return "bad";
  return limit && used > FULL * limit ? "warn" : "good";
}

function memory({ refuses_writes: refuses, used_bytes: used, max_bytes: limit }) {
  const share = limit ? shareText(used / limit) : null;
  return h("span", {}, [refuses && t("overview.refusesWrites"), share && t("overview.memoryUsed", { share })].filter(Boolean).join(" "));
}
