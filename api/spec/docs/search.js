// A plugin that searches operations by all of their texts. Swagger UI's own filter knows tags and paths.

export function searchOperations() {
  return { fn: { opsFilter: found } };
}

function found(tagged, phrase) {
  const words = phrase.toLowerCase().split(/\s+/).filter(Boolean);
  return tagged
    .map((tag, name) => tag.update("operations", (all) => all.filter((each) => matches(each, name, words))))
    .filter((tag) => tag.get("operations").size > 0);
}

function matches(described, tag, words) {
  const operation = described.get("operation");
  const parameters = operation.get("parameters")?.map((each) => each.get("name")) ?? [];
  const texts = ["operationId", "summary", "description"].map((name) => operation.get(name) ?? "");
  const text = [tag, described.get("method"), described.get("path"), ...texts, ...parameters].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}
