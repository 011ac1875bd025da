// What an operator may have meant: suggestions while typing, and beside an empty answer.

import { h } from "./dom.js";
import { badge, jobHref } from "./format.js";
import { get } from "./http.js";
import { chips, searchHref } from "./search.js";
import { t } from "./text.js";

const SEARCHABLE = /^[A-Za-z0-9._:-]{1,128}$/;

/** Return jobs and tenants that a text may mean; none for a text that no id or name can contain. */
export async function suggestions(text, signal) {
  if (!SEARCHABLE.test(text)) return { jobs: [], tenants: [] };
  return get(`suggestions/?text=${encodeURIComponent(text)}`, { signal });
}

export function suggestedJob(job) {
  return h("a", { href: jobHref(job), translate: "no" }, badge(job.state, t(`state.${job.state}`)), ` ${job.id} `, h("small", {}, job.tenant));
}

/** Make the answer to a search that found nothing: what was looked for, and what is near. */
export function nothingFound(query, text, signal) {
  const near = h("div", {}), looked = chips(query);
  const id = query.get("id"), tenant = query.get("tenant");
  const ask = async () => {
    const [byId, byTenant] = await Promise.all([suggestions(id ?? "", signal), suggestions(tenant ?? "", signal)]);
    const tenants = byTenant.tenants.filter((name) => name !== tenant);
    near.append(
      section("jobs.nearIds", byId.jobs.map(suggestedJob)),
      section("jobs.nearTenants", tenants.map((name) => h("a", { href: searchHref({ ...Object.fromEntries(query), tenant: name }), translate: "no" }, name))));
  };
  if (id || tenant) ask().catch(() => {}); // the page itself says that the server is away
  return h("div", { class: "nothing" },
    h("p", { class: "empty" }, text),
    looked.length > 0 && h("p", {}, t("jobs.lookedFor"), " ", looked),
    id && h("p", {}, h("a", { href: searchHref({ ...Object.fromEntries(query), id: "", part: id }) }, t("jobs.searchPart", { text: id }))),
    near);
}

function section(key, links) {
  return links.length ? h("div", {}, h("h2", {}, t(key)), h("ul", { class: "near" }, links.map((each) => h("li", {}, each)))) : "";
}
