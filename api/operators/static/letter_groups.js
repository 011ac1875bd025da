// Groups of dead letters with equal reason, detail and type, counted request by request.

import { h } from "./dom.js";
import { count, ago } from "./format.js";
import { get } from "./http.js";
import { Tally, groupLines } from "./letter_event.js";
import { addressOf, queryOf } from "./letter_filters.js";
import { parts, t } from "./text.js";

/** A count that goes on over several requests, each of which examines a limited number of letters. */
export class Counting {
  constructor(filters) {
    this.filters = filters;
    this.groups = new Map();
    this.letters = 0;
    this.tenants = new Set();
    this.moreTenants = false;
    this.until = null;
    this.cursor = null;
    this.complete = false;
  }

  /** Count the next letters. */
  async step(signal) {
    const query = queryOf(this.filters, { until: this.until, cursor: this.cursor });
    const facts = await get(`dead/groups/?${query}`, { signal });
    this.until ??= facts.until;
    this.letters += facts.letters;
    facts.groups.forEach((each) => this.#add(each));
    this.cursor = facts.next_cursor;
    this.complete = facts.next_cursor === null;
  }

  #add(group) {
    const key = JSON.stringify([group.reason, group.detail.replace(/[0-9]+/g, "#"), group.type]);
    const known = this.groups.get(key) ?? {
      ...group, letters: 0, names: new Set(), more: false,
      jobs: { count: 0, letters: 0, some: [], exact: true }, types: new Tally("job_type"), workers: new Tally("worker"),
    };
    if (known.detail !== group.detail) known.detail = group.detail.replace(/[0-9]+/g, "#");
    known.letters += group.letters;
    known.first = known.first < group.first ? known.first : group.first;
    known.last = known.last > group.last ? known.last : group.last;
    known.types.add(group);
    known.workers.add(group);
    addJobs(known, group);
    known.more ||= group.tenant_count > group.tenants.length;
    this.moreTenants ||= known.more;
    for (const { tenant } of group.tenants) {
      known.names.add(tenant);
      this.tenants.add(tenant);
    }
    this.groups.set(key, known);
  }

  /** The groups, those with the most letters first. */
  get sorted() {
    return [...this.groups.values()].sort((a, b) => b.letters - a.letters);
  }

  get lettersText() {
    return t(this.complete ? "dead.letters" : "dead.lettersAtLeast", { count: this.letters });
  }

  get tenantsText() {
    return tenantsText(this.tenants.size, this.moreTenants || !this.complete);
  }
}

/** Add the jobs of an answer, which were counted apart: one of a tenant in both may be counted twice. */
function addJobs({ jobs, names, more }, group) {
  const isUnlisted = more || group.tenant_count > group.tenants.length;
  if (names.size > 0 && (isUnlisted || group.tenants.some(({ tenant }) => names.has(tenant)))) jobs.exact = false;
  jobs.count += group.job_count;
  jobs.letters += group.with_job;
  jobs.some.push(...group.jobs);
}

function tenantsText(number, more) {
  return t(more ? "dead.tenantsAtLeast" : "dead.tenants", { count: number });
}

/** Make the list of groups, each with a link to its letters. */
export function groupList(counting) {
  const { filters, sorted } = counting;
  const rest = counting.letters - sorted.reduce((sum, each) => sum + each.letters, 0);
  return [
    h("ul", { class: "cases" }, sorted.map((each) => h("li", {},
      h("p", { class: "case" },
        h("b", { class: "figure" }, count(each.letters)),
        h("span", { class: "badge is-failed", translate: "no" }, each.reason),
        h("span", { class: "badge", translate: "no" }, each.type ?? t("dead.noType")),
        h("span", { class: "detail", translate: "no" }, each.detail)),
      h("p", { class: "hint" },
        each.names.size === 1 && !each.more ? h("span", { translate: "no" }, [...each.names][0]) : tenantsText(each.names.size, each.more),
        " · ", parts("dead.firstSeen", { time: ago(each.first) }), " · ", parts("dead.lastSeen", { time: ago(each.last) }),
        !isNarrowed(filters, each) && [" · ", h("a", { href: addressOf(filters, narrowing(each)) }, t("dead.show"))]),
      groupLines(each, filters),
      h("p", { class: "hint" }, t(`dead.advice.${ADVICE[each.reason] ?? "other"}`))))),
    rest > 0 && h("p", { class: "hint" }, t("dead.otherReasons", { count: rest })),
  ];
}

// What to do about a reason, as the run book has it.
const ADVICE = {
  __proto__: null, not_json: "sender", unknown_type: "sender", no_event_field: "sender", invalid_tenant: "sender",
  invalid_event: "invalid", too_large: "large", unsupported_version: "version", cannot_be_applied: "defect", kills_consumer: "defect",
};

/** Return whether the filters leave only the letters of this group. */
function isNarrowed(filters, group) {
  return Object.entries(narrowing(group)).every(([name, value]) => (filters[name] ?? null) === value);
}

function narrowing({ reason, detail, type }) {
  return { reason, detail, type };
}
