// The state of the deployment on all pages: a mark in the navigation and in the title of the tab while
// something is wrong that pages somebody, and a line on pages of jobs while these are late.

import { LATE, healthOf, overdueSample } from "./health.js";
import { get } from "./http.js";
import { forgetIssues } from "./past_issues.js";
import { t } from "./text.js";
import { seconds } from "./time.js";
import { setLate } from "./visit.js";

const EVERY = 20_000, FIRST = 1_500; // milliseconds
const MARK = "✕ ";

let tone = "good", unknown = false, late = 0, takenAt = 0, timer = 0, observer = null;

/** Return whether no consumer reports, so that it is unknown what is behind. */
export function isUnknown() {
  return unknown;
}

/** Return whether stored jobs are older than what clients see. */
export function areRowsLate() {
  return unknown || late > LATE.warn;
}

/** Take an answer of the overview, and the figures of jobs: a job type that fails pages somebody, too. */
export function takeOverview(facts, figures) {
  takenAt = Date.now();
  tone = healthOf(facts, figures).tone;
  const overdue = facts.samples && overdueSample(facts.samples);
  late = facts.samples?.groups.rows?.oldest_seconds.at(-1) ?? 0;
  unknown = facts.samples === null || overdue !== null;
  setLate(overdue ? t("shell.unknownSince", { time: seconds(overdue) }) : late > LATE.bad ? t("shell.late", { time: seconds(late) }) : "");
  document.getElementById("nav").dataset.tone = tone;
  markTitle();
}

function markTitle() {
  const [, news, rest] = /^(\(\d+\) )?(?:✕ )?(.*)$/s.exec(document.title);
  // The overview has a mark for each state, and a page that is out of date a question mark.
  const wanted = `${news ?? ""}${tone === "bad" && !/^[✓!?] /.test(rest) ? MARK : ""}${rest}`;
  if (document.title !== wanted) document.title = wanted;
}

/** Look at the state from now on, in a tab that is seen, unless the overview does. */
export function startDeployment() {
  if (timer) return;
  observer ??= new MutationObserver(markTitle);
  observer.observe(document.querySelector("title"), { childList: true });
  const look = async () => {
    if (!document.hidden && Date.now() - takenAt > EVERY / 2) {
      // The page itself says that a server is away. Without PostgreSQL, the overview counts alone.
      await Promise.all([get("overview/"), get("figures/").catch(() => null)])
        .then(([facts, figures]) => takeOverview(facts, figures), () => {});
    }
    if (timer) timer = setTimeout(look, EVERY);
  };
  timer = setTimeout(look, FIRST);
}

/** Stop looking, because nobody is signed in. */
export function stopDeployment() {
  clearTimeout(timer);
  timer = 0;
  forgetIssues();
  tone = "good";
  setLate("");
  document.getElementById("nav").dataset.tone = tone;
  markTitle();
}
