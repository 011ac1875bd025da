// The health of the deployment, computed from the overview. As in the alert rules, an issue that
// pages somebody is `bad`, and one that can wait for a ticket is `warn`.

import { forecastOf, forecastText } from "./forecast.js";
import { count, seconds } from "./format.js";
import { serverNow } from "./http.js";
import { t } from "./text.js";
import { helpHref } from "./view_help.js";
import { issueText } from "./view_issues.js";

const SAMPLE_OVERDUE = 60_000; // milliseconds since the last sample
const FAILING = { warn: { jobs: 5, share: 0.2 }, bad: { jobs: 10, share: 0.8 } }; // in the last minutes
export const LATE = { bad: 30, warn: 5 }; // seconds
const DAY_STEP = 150_000; // milliseconds between two samples of a day, at most
const QUIET = 300_000; // milliseconds without an event, of workers that sent them more often
const PAGES = { __proto__: null, behind: "#/tenants?order=lag", no_consumer: helpHref("consumers"), dead: "#/dead", silent: "#/stalled", failing: "#/jobs?state=failed" };

/**
 * Return {tone, text, issues}, with the worst issues first, of the overview, the figures of jobs, the tenants that
 * are behind, and the issues of the last day. An issue is {tone, text, href, help, since, isOlder, last}: `href` is the
 * page that shows what it is about, `help` the one that says what to do, `since` when it began if that is known,
 * `isOlder` whether it may have begun earlier, and `last` when something failed last.
 */
export function healthOf(facts, figures = null, tenants = null, past = null) {
  const refusing = refusesWrites(facts);
  // Consumers cannot write heartbeats and samples to a Redis that refuses writes: their absence says nothing.
  const delivery = refusing.length ? [] : [...missing(facts, past), ...late(facts, tenants, past), ...quiet(facts, figures)];
  const before = beforeThat(facts, figures, past, refusing.length > 0);
  const issues = [...unavailable(facts, past), ...refusing, ...delivery, ...before, ...failing(figures, past), ...waiting(facts, past)]
    .map((each) => ({ ...each, isOlder: isOlder(past, each.since) }))
    .sort((a, b) => (b.tone === "bad") - (a.tone === "bad"));
  const tone = issues[0]?.tone ?? "good";
  return { tone, text: t(`health.${tone}`), issues };
}

/** Return the age of the last sample in seconds if it is overdue, else null. */
export function overdueSample({ at }) {
  const past = at.length ? serverNow() - at[at.length - 1] : 0;
  return past > SAMPLE_OVERDUE ? past / 1000 : null;
}

/** Return the groups in the samples and among the consumers, with their numbers of live consumers. */
export function groupsOf({ samples, consumers }) {
  const names = new Set([...Object.keys(samples?.groups ?? {}), ...(consumers ?? []).map((each) => each.group)]);
  return [...names].map((name) => ({ name, alive: (consumers ?? []).filter((each) => each.group === name && each.alive).length }));
}

/** Return when an issue of the last day began that goes on, or null. */
function beganAt(past, cause, of = {}) {
  const isSame = (each) => each.end === null && each.cause === cause && Object.entries(of).every(([name, value]) => each[name] === value);
  return past?.issues.find(isSame)?.begin ?? null;
}

/** Return whether an issue was there already when the last day began, before which nothing is known. */
export function isOlder(past, since) {
  return Boolean(past && since) && since - past.since < DAY_STEP;
}

/** Make an issue whose text is a link to what to do, because no page shows more of it. */
function toHelp(topic, key, values, since) {
  return { tone: "bad", text: t(key, values), href: helpHref(topic), help: helpHref(topic), since };
}

function unavailable({ servers }, past) {
  return servers.filter((each) => !each.ok).map((each) => {
    const earlier = each.name === "postgresql" ? beganAt(past, "database_away") : null;
    return toHelp(each.name, "health.unavailable", { server: each.name }, earlier ?? each.since ?? null);
  });
}

function refusesWrites({ servers, samples }) {
  return servers.filter((each) => each.refuses_writes)
    .map((each) => toHelp("full", "health.refusesWrites", { server: each.name }, samples?.at.at(-1) ?? null));
}

function missing(facts, past) {
  const { consumers, samples } = facts;
  if (!consumers) return [];
  const lastOf = (found) => Math.max(0, ...found.map((each) => each.left ?? each.beat ?? 0)) || null;
  if (!consumers.some((each) => each.alive)) return [toHelp("consumers", "health.noConsumer", {}, lastOf(consumers) ?? samples?.at.at(-1) ?? null)];
  return groupsOf(facts).filter((each) => !each.alive).map(({ name: group }) => toHelp("consumers", "health.noConsumerOf", { group },
    lastOf(consumers.filter((each) => each.group === group)) ?? beganAt(past, "no_consumer", { group })));
}

/** Return what was wrong when it was last known, so that a second failure does not hide the first. */
function beforeThat({ samples, stalled }, figures, past, isRefusing) {
  const noSamples = isRefusing || !samples || overdueSample(samples) !== null;
  const unknown = { __proto__: null, behind: noSamples, no_consumer: noSamples, dead: !samples, silent: !stalled, failing: Boolean(figures?.error) };
  return (past?.issues ?? []).filter((each) => each.end === null && unknown[each.cause]).map((each) => ({
    tone: "warn", text: t("health.before", { issue: issueText(each) }), href: PAGES[each.cause], since: each.begin,
  }));
}

/** Return whether no event arrives although jobs are running whose workers sent some until lately. */
function quiet({ samples }, figures) {
  if (!samples || !figures?.now || !figures.stalled || overdueSample(samples) !== null) return [];
  const { at } = samples, groups = Object.values(samples.groups), end = at.length - 1;
  const running = figures.now.processing - (figures.stalled.count - figures.stalled.lately);
  if (running <= 0 || groups.some((each) => each.waiting?.[end] || each.pending?.[end])) return [];
  const busy = at.filter((_, index) => groups.some((each) => each.rate?.[index] > 0));
  if (!busy.length) return [];
  const longest = Math.max(0, ...busy.slice(1).map((each, index) => each - busy[index])), since = busy.at(-1);
  if (at[end] - since < Math.max(QUIET, 2 * longest)) return [];
  const text = t("health.quiet", { count: running, shown: count(running) });
  return [{ tone: "warn", text, href: "#/jobs?state=processing", help: helpHref("quiet"), since }];
}

/** Return whether a group is behind, so that it matters how many tenants there are. */
export function isBehind({ samples }) {
  return Object.values(samples?.groups ?? {}).some(({ oldest_seconds: oldest }) => oldest.at(-1) > LATE.warn);
}

function late({ samples }, tenants, past) {
  if (!samples) return [];
  const overdue = overdueSample(samples);
  if (overdue !== null) return [{ ...toHelp("sample", "health.noSample", { time: seconds(overdue) }, samples.at.at(-1)), tone: "warn" }];
  return Object.entries(samples.groups).flatMap(([name, group]) => {
    const age = group.oldest_seconds.at(-1) ?? 0, { tenants: n, furthest } = samples.late?.[name] ?? {};
    const tone = age > LATE.bad ? "bad" : age > LATE.warn && "warn";
    if (!tone) return [];
    const text = [behindText(name, age, n, furthest, tenants?.known), forecastText(forecastOf(samples.at, group))].filter(Boolean).join("; ");
    const isOne = n === 1 && furthest;
    return [{ tone, text, href: isOne ? `#/tenants/${furthest}` : "#/tenants?order=lag", help: helpHref(isOne ? "flood" : "behind"),
      since: beganAt(past, "behind", { group: name }) ?? samples.at.at(-1) - age * 1000 }];
  });
}

/** Return a text with the number of tenants that are behind, of how many; earlier consumers do not count them. */
function behindText(group, age, n, furthest, known) {
  const values = { group, time: seconds(age) };
  if (!n) return t("health.behind", values);
  if (n === 1 && furthest) return t("health.behindOne", { ...values, tenant: furthest });
  return t(known >= n ? "health.behindSome" : "health.behindMany", { ...values, count: n, shown: count(n), known: count(known ?? 0) });
}

/** Return how bad the failures of a job type in the last minutes are: bad, warn, or null. */
export function failureTone({ recent }) {
  if (!recent) return null;
  const share = recent.failed / (recent.failed + recent.done);
  if (recent.failed >= FAILING.bad.jobs && share >= FAILING.bad.share) return "bad";
  return recent.failed >= FAILING.warn.jobs && share >= FAILING.warn.share ? "warn" : null;
}

function failing(figures, past) {
  return (figures?.types ?? []).flatMap((each) => {
    const tone = failureTone(each), { recent, kind, job_type: type, codes } = each;
    if (!tone) return [];
    const ended = recent.failed + recent.done, code = codes[0]?.code;
    const key = code ? "health.failingWith" : "health.failing";
    return [{
      tone, text: t(key, { type: type ?? kind, failed: recent.failed, ended, code }), help: helpHref("failing"),
      href: `#/jobs?${new URLSearchParams({ kind, ...(type === null ? {} : { job_type: type }), state: "failed" })}`,
      since: beganAt(past, "failing", { kind, job_type: type }), last: recent.last_failed_at || null,
    }];
  });
}

function waiting({ samples, stalled }, past) {
  const found = [];
  if (samples?.dead > 0) found.push({ tone: "warn", text: many("health.deadLetters", samples.dead), href: "#/dead", help: helpHref("dead"), since: beganAt(past, "dead") });
  if (stalled?.count > 0) {
    found.push({ tone: "warn", text: many("health.stalled", stalled.count, stalled.more), href: "#/stalled", help: helpHref("silent"), since: beganAt(past, "silent") });
  }
  return found;
}

function many(key, number, more) {
  return t(key, { count: number, shown: `${count(number)}${more ? "+" : ""}` });
}
