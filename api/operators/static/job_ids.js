// The jobs of a search in a dialog: their ids to copy, or a CSV file to download.

import { copy } from "./copy.js";
import { h, put, toast } from "./dom.js";
import { get } from "./http.js";
import { serverQuery } from "./search.js";
import { t } from "./text.js";
import { moment } from "./time.js";

const MAX_JOBS = 2_000, MAX_REQUESTS = 30, PAGE = 100;
const COLUMNS = ["tenant", "kind", "id", "state", "job_type", "code", "worker", "created_at", "updated_at"];
const QUOTE = "\u0022", APOSTROPHE = "\u0027";
const OF_WORKERS = ["job_type", "code", "worker"]; // texts of any form

/** Make the button that opens the dialog. */
export function idsButton(visit) {
  return h("button", { type: "button", "data-key": "ids", onclick: () => open(visit.query) }, t("jobs.ids"));
}

function open(query) {
  const body = h("div", { class: "bulk" }), controller = new AbortController();
  const dialog = h("dialog", { class: "wide", "aria-labelledby": "ids-title" }, h("h2", { id: "ids-title" }, t("jobs.idsTitle")), body);
  dialog.addEventListener("close", () => {
    controller.abort();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  const close = h("button", { type: "button", onclick: () => dialog.close() }, t("shell.close"));
  const show = (...content) => {
    put(body, content, h("div", { class: "buttons" }, close));
    close.focus();
  };
  show(h("p", { role: "status" }, t("jobs.collecting", { count: 0 })));
  collect(query, controller.signal, (found) => {
    body.querySelector("[role=status]").textContent = t("jobs.collecting", { count: found });
  }).then((found) => show(result(found)), (error) => {
    if (!controller.signal.aborted) show(h("p", { class: "note bad", role: "alert" }, error.message));
  });
}

/** Return the jobs of a search from its beginning, as far as a limited number of requests finds them. */
async function collect(query, signal, progress) {
  const asked = serverQuery(query), jobs = [];
  asked.delete("cursor");
  asked.set("limit", String(PAGE));
  for (let n = 0; ; n += 1) {
    const facts = await get(`jobs/?${asked}`, { signal, keep: false });
    jobs.push(...facts.items);
    progress(jobs.length);
    const more = facts.next_cursor !== null;
    if (!more || jobs.length >= MAX_JOBS || n + 1 >= MAX_REQUESTS) return { jobs, more, searchedUntil: facts.searched_until };
    asked.set("cursor", facts.next_cursor);
  }
}

function result({ jobs, more, searchedUntil }) {
  if (!jobs.length) return h("p", {}, more ? t("jobs.noMatchSoFar") : t("jobs.noMatch"));
  const isOneList = jobs.every(({ tenant, kind }) => tenant === jobs[0].tenant && kind === jobs[0].kind);
  const lines = jobs.map(({ tenant, kind, id }) => (isOneList ? id : [tenant, kind, id].join("\t"))).join("\n");
  const copyIds = async () => toast(t((await copy(lines)) ? "jobs.idsCopied" : "shell.notCopied", { count: jobs.length }));
  return [
    h("p", {}, t("jobs.found", { count: jobs.length }), " ", t(isOneList ? "jobs.idsAlone" : "jobs.idsOfTenants")),
    more && h("p", { class: "note warn" }, searchedUntil ? t("jobs.idsBackTo", { time: moment(searchedUntil) }) : t("jobs.idsOfMore", { count: jobs.length })),
    h("pre", { tabindex: "0", class: "ids", translate: "no", "aria-label": t("jobs.idsTitle") }, lines),
    jobs.some((job) => job.state === "failed") && h("p", { class: "hint" }, t("jobs.repeat")),
    h("div", { class: "choice" },
      h("button", { type: "button", class: "primary", onclick: copyIds }, t("jobs.copyIds")),
      h("button", { type: "button", onclick: () => download(csvOf(jobs)) }, t("jobs.downloadCsv"))),
  ];
}

function csvOf(jobs) {
  const rows = jobs.map((job) => COLUMNS.map((name) => cell(job[name], OF_WORKERS.includes(name))));
  return [COLUMNS, ...rows].map((row) => `${row.join(",")}\r\n`).join("");
}

/** Return a value as RFC 4180 has it. Spreadsheets would run a text of somebody else that begins like a formula. */
function cell(value, isForeign) {
  const text = String(value ?? ""), safe = isForeign && /^[=+\-@\t\r]/.test(text) ? APOSTROPHE + text : text;
  return /[\x22,\r\n]/.test(safe) ? QUOTE + safe.replaceAll(QUOTE, QUOTE + QUOTE) + QUOTE : safe;
}

function download(text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  h("a", { href: url, download: `jobtrail-jobs-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
