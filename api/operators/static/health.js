// The health of the deployment, computed from the overview. As in the alert rules, an issue that
// pages somebody is `bad`, and one that can wait for a ticket is `warn`.

import { count, seconds } from "./format.js";
import { serverNow } from "./http.js";

const SAMPLE_OVERDUE = 60_000; // milliseconds since the last sample
export const LATE = { bad: 30, warn: 5 }; // seconds

const SUMMARIES = { good: "Healthy", warn: "Needs attention", bad: "Not healthy" };

/** Return {tone, text, issues}, with the worst issues first; an issue is {tone, text, href}. */
export function healthOf(facts) {
  const issues = [...unavailable(facts), ...missing(facts), ...late(facts), ...waiting(facts)]
    .sort((a, b) => (b.tone === "bad") - (a.tone === "bad"));
  const tone = issues[0]?.tone ?? "good";
  return { tone, text: SUMMARIES[tone], issues };
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
  return servers.filter((each) => !each.ok).map((each) => ({ tone: "bad", text: `${each.name} is unavailable` }));
}

function missing(facts) {
  if (!facts.consumers) return [];
  if (!facts.consumers.some((each) => each.alive)) return [{ tone: "bad", text: "no consumer is alive" }];
  return groupsOf(facts).filter((each) => !each.alive)
    .map((each) => ({ tone: "bad", text: `no consumer of ${each.name} is alive` }));
}

function late({ samples }) {
  if (!samples) return [];
  const overdue = overdueSample(samples);
  if (overdue !== null) return [{ tone: "warn", text: `no sample for ${seconds(overdue)}` }];
  return Object.entries(samples.groups).flatMap(([name, { oldest_seconds: oldest }]) => {
    const age = oldest[oldest.length - 1] ?? 0;
    const tone = age > LATE.bad ? "bad" : age > LATE.warn && "warn";
    return tone ? [{ tone, text: `${name} is ${seconds(age)} behind`, href: "#/tenants?order=lag" }] : [];
  });
}

function waiting({ samples, stalled }) {
  const found = [];
  if (samples?.dead > 0) found.push({ tone: "warn", text: many(samples.dead, "dead letter"), href: "#/dead" });
  if (stalled?.count > 0) {
    found.push({ tone: "warn", text: many(stalled.count, "stalled job", stalled.more), href: "#/stalled" });
  }
  return found;
}

function many(number, what, more) {
  return `${count(number)}${more ? "+" : ""} ${what}${number === 1 ? "" : "s"}`;
}
