// Renders a JSON Schema on one line, and the fields of an object as a table.

import { element, prose } from "./elements.js";

export function schemaOf(schema) {
  const made = element("span", {});
  made.append(...typeOf(schema));
  return made;
}

export function schemaTable(schema, table) {
  const fields = Object.entries(schema.properties ?? {});
  if (fields.length === 0) return schemaOf(schema);
  const required = new Set(schema.required);
  const rows = fields.map(([name, field]) => [
    element("code", {}, name),
    schemaOf(field),
    required.has(name) ? "yes" : "no",
    element("span", {}, ...prose(field.description ?? "")),
  ]);
  return table(["field", "type", "required", "description"], rows);
}

function typeOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return [element("a", { href: `#schema-${name}` }, name)];
  }
  if (schema.anyOf) return schema.anyOf.flatMap((each, at) => (at ? [" or ", ...typeOf(each)] : typeOf(each)));
  if ("const" in schema) return [element("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return [schema.enum.map((each) => JSON.stringify(each)).join(", ")];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items ?? {})];
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return ["map to ", ...typeOf(schema.additionalProperties)];
  }
  return [[schema.type ?? "anything", schema.format, bounds(schema)].filter(Boolean).join(" ")];
}

function bounds(schema) {
  const { minimum, maximum, maxLength, maxItems, pattern } = schema;
  const limits = [];
  if (minimum !== undefined) limits.push(`≥ ${minimum}`);
  if (maximum !== undefined) limits.push(`≤ ${maximum}`);
  if (maxLength !== undefined) limits.push(`at most ${maxLength} characters`);
  if (maxItems !== undefined) limits.push(`at most ${maxItems} items`);
  if (pattern !== undefined) limits.push(pattern);
  return limits.join(", ");
}
