// Renders openapi.json: the operations, each with a form to try it, and the schemas. Texts become text
// nodes only, so nothing in the document can become markup.

import { tryForm } from "./try.js";
import { element, prose } from "./elements.js";
import { schemaOf, schemaTable } from "./schemas.js";

const url = new URL("openapi.json", document.baseURI);
const credentials = new Map();

try {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  draw(await answer.json());
} catch (error) {
  const failure = document.querySelector("#failure");
  failure.textContent = `openapi.json could not be loaded: ${error.message}`;
  failure.hidden = false;
}

function draw(api) {
  document.querySelector("#about").append(...prose(api.info.description));
  document.querySelector("#schemes").append(...schemes(api));
  const operations = document.querySelector("#operations");
  const contents = document.querySelector("#contents");
  for (const tag of api.tags) {
    const found = operationsOf(api, tag.name);
    if (found.length === 0) continue;
    contents.append(element("h2", {}, tag.name), element("ul", {}, ...found.map(entry)));
    operations.append(
      element("h2", { id: `tag-${tag.name}` }, tag.name),
      element("p", {}, ...prose(tag.description)),
      ...found.map((operation) => described(api, operation)),
    );
  }
  document.querySelector("#schemas").append(element("h2", {}, "schemas"), ...schemas(api));
  openNamed();
  addEventListener("hashchange", openNamed);
}

function operationsOf(api, tag) {
  return Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => operation.tags.includes(tag))
      .map(([method, operation]) => ({ path, method, ...operation })),
  );
}

function entry(operation) {
  return element("li", {}, element("a", { href: `#${operation.operationId}` }, operation.summary));
}

function described(api, operation) {
  return element(
    "details",
    { id: operation.operationId },
    element(
      "summary",
      {},
      element("span", { class: `method ${operation.method}` }, operation.method),
      element("span", { class: "path" }, operation.path),
      element("span", { class: "soft" }, operation.summary),
    ),
    element("p", {}, ...prose(operation.description ?? "")),
    ...parameters(operation),
    ...body(operation),
    element("h4", {}, "Try it"),
    tryForm(operation, { credentials, security: security(api, operation), base: url }),
    element("h4", {}, "Responses"),
    ...responses(api, operation),
  );
}

function security(api, operation) {
  const names = operation.security.flatMap((each) => Object.keys(each));
  return names.map((name) => {
    const scheme = api.components.securitySchemes[name];
    return { ...scheme, name, header: scheme.name };
  });
}

function parameters(operation) {
  if (!operation.parameters?.length) return [];
  const rows = operation.parameters.map((each) => [
    element("code", {}, each.name),
    `${each.in}${each.required ? ", required" : ""}`,
    schemaOf(each.schema),
    element("span", {}, ...prose(each.description ?? "")),
  ]);
  return [element("h4", {}, "Parameters"), table(["name", "in", "type", "description"], rows)];
}

function body(operation) {
  const content = operation.requestBody?.content["application/json"];
  if (!content) return [];
  return [element("h4", {}, "Body"), element("p", {}, schemaOf(content.schema))];
}

function responses(api, operation) {
  return Object.entries(operation.responses).map(([status, given]) => {
    const response = resolve(api, given);
    const contents = Object.entries(response.content ?? {});
    return element(
      "details",
      {},
      element(
        "summary",
        {},
        element("strong", { class: status < "400" ? "good" : "bad" }, status),
        element("span", {}, response.description),
      ),
      ...contents.flatMap(([type, content]) => [
        element("p", {}, element("code", {}, type), " ", schemaOf(content.schema)),
        ...examples(content),
      ]),
      ...Object.keys(response.headers ?? {}).map((name) =>
        element("p", {}, "Header: ", element("code", {}, name)),
      ),
    );
  });
}

function examples(content) {
  return Object.entries(content.examples ?? {}).flatMap(([name, { value }]) => [
    element("p", { class: "soft" }, name),
    element("pre", { tabindex: "0" }, typeof value === "string" ? value : pretty(value)),
  ]);
}

function schemas(api) {
  return Object.entries(api.components.schemas).map(([name, schema]) =>
    element(
      "details",
      { id: `schema-${name}` },
      element("summary", {}, element("strong", {}, name)),
      element("p", {}, ...prose(schema.description ?? "")),
      schemaTable(schema, table),
    ),
  );
}

function schemes(api) {
  return Object.entries(api.components.securitySchemes)
    .filter(([, scheme]) => scheme.in !== "query")
    .map(([name, scheme]) => {
      const input = element("input", { name, autocomplete: "off", spellcheck: "false" });
      if (scheme.type === "http") input.type = "password";
      input.addEventListener("input", () => credentials.set(name, input.value.trim()));
      return element("label", {}, scheme.name ?? "Bearer token (JWT)", input);
    });
}

function resolve(api, given) {
  if (!given.$ref) return given;
  return given.$ref.slice(2).split("/").reduce((found, name) => found[name], api);
}

function table(heads, rows) {
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": heads.join(", ") },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element(
        "tbody",
        {},
        ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell)))),
      ),
    ),
  );
}

function openNamed() {
  const named = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
    named.querySelector("summary").focus({ preventScroll: true });
  }
}

function pretty(value) {
  return JSON.stringify(value, null, 2);
}
