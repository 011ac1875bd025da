// Whether all is well, in one line: what an operator's eye falls on first. What would page somebody
// is `bad`, what can wait for a ticket is `warn`, as in the alert rules.

import { count, seconds } from "./format.js";
import { serverNow } from "./http.js";

const SILENT = 60_000;
export const LATE = { bad: 30, warn: 5 };

const WORDS = { good: "All is well", warn: "Needs a look", bad: "Something is wrong" };

/** Give {tone, words, troubles}, the worst first; a trouble is {tone, words, href}. */
export function verdict(facts) {
  const troubles = [...away(facts), ...alone(facts), ...late(facts), ...lying(facts)]
    .sort((a, b) => (b.tone === "bad") - (a.tone === "bad"));
  const tone = troubles[0]?.tone ?? "good";
  return { tone, words: WORDS[tone], troubles };
}

/** Give how long ago the last sample was taken, in seconds, where that is too long; else null. */
export function unsampled({ at }) {
  const past = at.length ? serverNow() - at[at.length - 1] : 0;
  return past > SILENT ? past / 1000 : null;
}

/** Give the groups that samples or consumers tell of, each with its number of living consumers. */
export function groupsOf({ samples, consumers }) {
  const names = new Set([...Object.keys(samples?.groups ?? {}), ...(consumers ?? []).map((each) => each.group)]);
  return [...names].map((name) => ({ name, alive: (consumers ?? []).filter((each) => each.group === name && each.alive).length }));
}

function away({ servers }) {
  return servers.filter((each) => !each.ok).map((each) => ({ tone: "bad", words: `${each.name} is away or refuses` }));
}

function alone(facts) {
  if (!facts.consumers) return [];
  if (!facts.consumers.some((each) => each.alive)) return [{ tone: "bad", words: "no consumer is alive" }];
  return groupsOf(facts).filter((each) => !each.alive)
    .map((each) => ({ tone: "bad", words: `no consumer of ${each.name} is alive` }));
}

function late({ samples }) {
  if (!samples) return [];
  const silent = unsampled(samples);
  if (silent !== null) return [{ tone: "warn", words: `no sample for ${seconds(silent)}` }];
  return Object.entries(samples.groups).flatMap(([name, { oldest_seconds: oldest }]) => {
    const age = oldest[oldest.length - 1] ?? 0;
    const tone = age > LATE.bad ? "bad" : age > LATE.warn && "warn";
    return tone ? [{ tone, words: `${name} is ${seconds(age)} behind`, href: "#/tenants?order=lag" }] : [];
  });
}

function lying({ samples, stalled }) {
  const found = [];
  if (samples?.dead > 0) found.push({ tone: "warn", words: many(samples.dead, "dead letter"), href: "#/dead" });
  if (stalled?.count > 0) {
    found.push({ tone: "warn", words: many(stalled.count, "stalled job", stalled.more), href: "#/stalled" });
  }
  return found;
}

function many(number, what, more) {
  return `${count(number)}${more ? "+" : ""} ${what}${number === 1 ? "" : "s"}`;
}
