// The issues of the last 24 hours: what was wrong, from when to when, and whom it concerned.

import { h, panel, put, table } from "./dom.js";
import { ago, count, seconds } from "./format.js";
import { serverNow } from "./http.js";
import { t } from "./text.js";
import { clock } from "./time.js";
import { helpHref } from "./view_help.js";

const EVERY = 20_000;
const HELP = { __proto__: null, behind: "behind", no_consumer: "consumers", no_sample: "sample", refused: "full", redis_restarted: "redis", database_away: "postgresql", dead: "dead", silent: "silent", failing: "failing" };

export async function issues(visit) {
  const body = h("div", { class: "stack" });
  await visit.load("issues/", (facts) => {
    if (!body.isConnected) put(visit.main, h("h1", {}, t("issues.title")), body);
    const goesOn = facts.issues.filter((each) => each.end === null).length;
    put(body, panel(null,
      facts.missing.length > 0 && h("p", { class: "note bad" }, t("issues.missing", { servers: facts.missing.join(", ") })),
      facts.issues.length > 0 && h("p", { class: "hint" }, t("issues.lead", { count: facts.issues.length, goesOn })),
      list(facts), facts.more && h("p", { class: "hint" }, t("issues.more")), h("p", { class: "hint" }, t("issues.hint"))));
  }, EVERY);
}

function list({ issues: all, missing }) {
  if (!all.length && missing.length) return null;
  return table(t("issues.title"), [
    { title: t("issues.issue"), wide: true, phone: "full", cell: (each) => [
      h("strong", { class: each.end === null ? "bad-text" : null }, issueText(each)), " ",
      h("a", { class: "what-to-do", href: helpHref(each.tenants === 1 ? "flood" : HELP[each.cause] ?? "behind") }, t("help.link"))] },
    { title: t("issues.whom"), wide: true, phone: "full", cell: whom },
    { title: t("issues.began"), phone: "fact", cell: (each) => at(each.begin) },
    { title: t("issues.ended"), phone: "fact", cell: (each) => (each.end === null ? h("span", { class: "bad-text" }, t("issues.goesOn")) : at(each.end)) },
    { title: t("issues.lasted"), num: true, phone: "fact", cell: (each) => seconds(((each.end ?? serverNow()) - each.begin) / 1000) },
  ], all, t("issues.none"));
}

function at(ms) {
  return h("span", { class: "job" }, h("span", {}, clock(ms, "second")), h("small", {}, ago(ms)));
}

/** Return what was wrong, as a text. */
export function issueText({ cause, group, worst, job_type: type, kind, failed, ended, code }) {
  if (cause === "failing") return t(code === null ? "issues.failing" : "issues.failingWith", { type: type ?? kind, failed, ended, code });
  if (cause === "dead" || cause === "silent") return t(`issues.${cause}`, { count: worst, shown: count(worst) });
  return t(`issues.${cause}`, { group, time: seconds(worst) });
}

/** Show whom an issue concerned: a link to it where it is known. */
function whom({ cause, tenants, tenant, kind, job_type: type, begin, end }) {
  if (cause === "failing") {
    const until = end ?? serverNow(), moment = (ms) => new Date(ms).toISOString();
    const found = { kind, ...(type !== null && { job_type: type }), state: "failed", since: moment(begin - 3_600_000), until: moment(until) };
    return h("a", { href: `#/jobs?${new URLSearchParams(found)}` }, t("issues.jobs"));
  }
  if (cause === "dead") return h("a", { href: "#/dead" }, t("shell.dead"));
  if (cause === "silent") return h("a", { href: "#/stalled" }, t("shell.stalled"));
  if (!tenants) return t("issues.all");
  const link = tenant && h("a", { href: `#/tenants/${tenant}`, translate: "no" }, tenant);
  if (tenants === 1) return link ?? t("issues.tenants", { count: 1, shown: "1" });
  return [t("issues.tenants", { count: tenants, shown: count(tenants) }), link && [" ", t("issues.mostOf"), " ", link]];
}
