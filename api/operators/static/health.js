// The health of the deployment, computed from the overview. As in the alert rules, an issue that
// pages somebody is `bad`, and one that can wait for a ticket is `warn`.

import { forecastOf, forecastText } from "./forecast.js";
import { count, seconds } from "./format.js";
import { serverNow } from "./http.js";
import { t } from "./text.js";
import { helpHref } from "./view_help.js";

const SAMPLE_OVERDUE = 60_000; // milliseconds since the last sample
const FAILING = { warn: { jobs: 5, share: 0.2 }, bad: { jobs: 10, share: 0.8 } }; // in the last minutes
export const LATE = { bad: 30, warn: 5 }; // seconds

/**
 * Return {tone, text, issues}, with the worst issues first, of the overview, the figures of jobs, and the tenants
 * that are behind. An issue is {tone, text, href, help}: `href` is the page that shows what it is about, and `help`
 * the one that says what to do.
 */
export function healthOf(facts, figures = null, tenants = null) {
  const refusing = refusesWrites(facts);
  // Consumers cannot write heartbeats and samples to a Redis that refuses writes: their absence says nothing.
  const delivery = refusing.length ? [] : [...missing(facts), ...late(facts, tenants)];
  const issues = [...unavailable(facts), ...refusing, ...delivery, ...failing(figures), ...waiting(facts)]
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

function unavailable({ servers }) {
  return servers.filter((each) => !each.ok)
    .map((each) => ({ tone: "bad", text: t("health.unavailable", { server: each.name }), help: helpHref(each.name) }));
}

function refusesWrites({ servers }) {
  return servers.filter((each) => each.refuses_writes)
    .map((each) => ({ tone: "bad", text: t("health.refusesWrites", { server: each.name }), help: helpHref("full") }));
}

function missing(facts) {
  if (!facts.consumers) return [];
  if (!facts.consumers.some((each) => each.alive)) return [{ tone: "bad", text: t("health.noConsumer"), help: helpHref("consumers") }];
  return groupsOf(facts).filter((each) => !each.alive)
    .map((each) => ({ tone: "bad", text: t("health.noConsumerOf", { group: each.name }), help: helpHref("consumers") }));
}

/** Return whether a group is behind, so that it matters how many tenants there are. */
export function isBehind({ samples }) {
  return Object.values(samples?.groups ?? {}).some(({ oldest_seconds: oldest }) => oldest.at(-1) > LATE.warn);
}

function late({ samples }, tenants) {
  if (!samples) return [];
  const overdue = overdueSample(samples);
  if (overdue !== null) return [{ tone: "warn", text: t("health.noSample", { time: seconds(overdue) }), help: helpHref("sample") }];
  return Object.entries(samples.groups).flatMap(([name, group]) => {
    const age = group.oldest_seconds.at(-1) ?? 0, { tenants: n, furthest } = samples.late?.[name] ?? {};
    const tone = age > LATE.bad ? "bad" : age > LATE.warn && "warn";
    if (!tone) return [];
    const text = [behindText(name, age, n, furthest, tenants?.known), forecastText(forecastOf(samples.at, group))].filter(Boolean).join("; ");
    const isOne = n === 1 && furthest;
    return [{ tone, text, href: isOne ? `#/tenants/${furthest}` : "#/tenants?order=lag", help: helpHref(isOne ? "flood" : "behind") }];
  });
}

/** Say with how many tenants a group is behind, of how many; of earlier consumers that is not known. */
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

function failing(figures) {
  return (figures?.types ?? []).flatMap((each) => {
    const tone = failureTone(each), { recent, kind, job_type: type, codes } = each;
    if (!tone) return [];
    const ended = recent.failed + recent.done, code = codes[0]?.code;
    const key = code ? "health.failingWith" : "health.failing";
    return [{
      tone, text: t(key, { type: type ?? kind, failed: recent.failed, ended, code }), help: helpHref("failing"),
      href: `#/jobs?${new URLSearchParams({ kind, ...(type === null ? {} : { job_type: type }), state: "failed" })}`,
    }];
  });
}

function waiting({ samples, stalled }) {
  const found = [];
  if (samples?.dead > 0) found.push({ tone: "warn", text: many("health.deadLetters", samples.dead), href: "#/dead", help: helpHref("dead") });
  if (stalled?.count > 0) {
    found.push({ tone: "warn", text: many("health.stalled", stalled.count, stalled.more), href: "#/stalled", help: helpHref("silent") });
  }
  return found;
}

function many(key, number, more) {
  return t(key, { count: number, shown: `${count(number)}${more ? "+" : ""}` });
}
