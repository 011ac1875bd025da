// What the event of a dead letter says of its job: the job, its type, the worker, and whether it is the job's end.

import { h } from "./dom.js";
import { ENDS, count, jobHref } from "./format.js";
import { addressOf } from "./letter_filters.js";
import { searchHref } from "./search.js";
import { parts, t } from "./text.js";

const SHOWN = 3; // jobs, job types and workers of a group

/** Return whether the event of a letter is the end of its job, which does not end without it. */
export function isEnd({ type }) {
  return ENDS.includes(type);
}

/** Return whether an event of these values could be read. */
export function isReadable({ type, kind, job_id: id, job_type: jobType, worker }) {
  return [type, kind, id, jobType, worker].some((value) => value !== null);
}

/** Make a link to the job of a letter; text if no such job can exist. */
export function jobLink({ tenant, kind, job_id: id, known_job: known }) {
  if (id === null) return t("dead.noJob");
  return known ? linkTo({ tenant, kind, id }) : h("span", { translate: "no" }, id);
}

function linkTo(job) {
  return h("a", { href: jobHref(job), translate: "no" }, job.id);
}

/** Make a link to the jobs of a letter's worker. */
export function workerLink({ tenant, known_tenant: known, worker }) {
  return h("a", { href: searchHref({ tenant: known && tenant, worker }), translate: "no" }, worker);
}

/** Make the cell of a list with the job, its kind and type, and the worker. */
export function eventCell(each, filters) {
  if (!isReadable(each)) return h("span", { class: "hint" }, t("dead.noType"));
  const facts = ["kind", "job_type"].filter((name) => each[name] !== null);
  return h("div", { class: "of-job" },
    h("span", { class: "job" }, jobLink(each),
      h("small", {}, facts.map((name, at) => [at > 0 && " · ", h("a", { href: addressOf(filters, { [name]: each[name] }), translate: "no" }, each[name])]))),
    h("small", {}, each.worker === null ? t("dead.noWorker") : parts("dead.byWorker", { worker: workerLink(each) })));
}

/** Make the marks of an event: its type, and whether it is the end of its job. */
export function typeBadges(each, filters) {
  return [
    each.type && h("a", { class: "badge", href: addressOf(filters, { type: each.type }), translate: "no" }, each.type),
    isEnd(each) && h("span", { class: "badge is-cancelled", title: t("dead.endNote") }, t("dead.end")),
  ];
}

/** Values of the events of one group with their numbers of letters, added up over several answers. */
export class Tally {
  constructor(name) {
    this.name = name; // of a value in an answer
    this.letters = new Map();
    this.known = 0; // letters that have a value
    this.more = false; // whether answers left out rare values
  }

  add(group) {
    const listed = group[`${this.name}s`];
    for (const each of listed) this.letters.set(each[this.name], (this.letters.get(each[this.name]) ?? 0) + each.letters);
    this.known += group[`with_${this.name}`];
    this.more ||= group[`${this.name}_count`] > listed.length;
  }

  /** Return the most frequent values as elements of a sentence. */
  list(hrefOf) {
    const all = [...this.letters].sort(([, a], [, b]) => b - a);
    const shown = all.slice(0, SHOWN).map(([value, letters], at) => [
      at > 0 && ", ", h("a", { href: hrefOf(value), translate: "no" }, value), all.length > 1 && ` (${count(letters)})`,
    ]);
    return [shown, (this.more || all.length > SHOWN) && ` ${t("dead.andOthers")}`];
  }
}

/** Make the lines of a group about its jobs: how many, some of them, their types and their workers. */
export function groupLines(group, filters) {
  const { letters, jobs, types, workers } = group;
  if (group.type === null && !jobs.letters && !types.known && !workers.known) return null;
  const shown = jobs.some.slice(0, SHOWN).map((job, at) => [at > 0 && ", ", linkTo(job)]);
  const without = letters - jobs.letters, unnamed = letters - workers.known;
  const lines = [
    jobs.letters > 0 && [t(jobs.exact ? "dead.jobs" : "dead.jobsAtMost", { count: jobs.count }), ": ", shown, jobs.count > SHOWN && " …"],
    without > 0 && t(jobs.letters ? "dead.lettersWithoutJob" : "dead.noneNamesJob", { count: without }),
    types.known > 0 && parts("dead.ofTypes", { list: types.list((value) => addressOf(filters, { job_type: value })) }),
    workers.known > 0 && parts("dead.byWorkers", { list: workers.list((value) => searchHref({ worker: value })) }),
    unnamed > 0 && t(workers.known ? "dead.lettersWithoutWorker" : "dead.noneNamesWorker", { count: unnamed }),
  ];
  return [
    h("p", { class: "hint" }, lines.filter(Boolean).map((line, at) => [at > 0 && " · ", line])),
    isEnd(group) && jobs.letters > 0 && h("p", { class: "end-note" }, t("dead.endsNote", { count: jobs.count, type: group.type })),
  ];
}
