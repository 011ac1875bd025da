// JSON Schema in a line, and an object's fields as a table.

import { element, prose } from "./elements.js";

export function schemaOf(schema) {
  const made = element("span", {});
  made.append(...words(schema));
  return made;
}

export function schemaTable(schema, table) {
  const fields = Object.entries(schema.properties ?? {});
  if (fields.length === 0) return schemaOf(schema);
  const required = new Set(schema.required);
  const rows = fields.map(([name, field]) => [
    element("code", {}, name),
    schemaOf(field),
    required.has(name) ? "always" : "at times",
    element("span", {}, ...prose(field.description ?? "")),
  ]);
  return table(["field", "type", "there", "what it is"], rows);
}

function words(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return [element("a", { href: `#schema-${name}` }, name)];
  }
  if (schema.anyOf) return schema.anyOf.flatMap((each, at) => (at ? [" or ", ...words(each)] : words(each)));
  if ("const" in schema) return [element("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return [schema.enum.map((each) => JSON.stringify(each)).join(", ")];
  if (schema.type === "array") return ["list of ", ...words(schema.items ?? {})];
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return ["map to ", ...words(schema.additionalProperties)];
  }
  return [[schema.type ?? "anything", schema.format, bounds(schema)].filter(Boolean).join(" ")];
}

function bounds(schema) {
  const { minimum, maximum, maxLength, maxItems, pattern } = schema;
  const said = [];
  if (minimum !== undefined) said.push(`≥ ${minimum}`);
  if (maximum !== undefined) said.push(`≤ ${maximum}`);
  if (maxLength !== undefined) said.push(`${maxLength} characters at most`);
  if (maxItems !== undefined) said.push(`${maxItems} at most`);
  if (pattern !== undefined) said.push(pattern);
  return said.join(", ");
}
