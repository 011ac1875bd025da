// A plugin that shows each request that was sent as a snippet for JavaScript and for Python, beside
// Swagger UI's own for curl.

export const generators = {
  curl_bash: { title: "curl", syntax: "bash" },
  javascript: { title: "JavaScript", syntax: "javascript" },
  python: { title: "Python", syntax: "text" },
};

export function snippets() {
  return {
    fn: { requestSnippetGenerator_javascript: javascript, requestSnippetGenerator_python: python },
  };
}

function javascript(request) {
  const { method, url, headers, body } = parts(request);
  const lines = [`const response = await fetch(${JSON.stringify(url)}, {`];
  if (method !== "GET") lines.push(`  method: ${JSON.stringify(method)},`);
  lines.push(`  headers: ${JSON.stringify(headers, null, 2).replaceAll("\n", "\n  ")},`);
  if (body !== undefined) lines.push(`  body: ${JSON.stringify(body)},`);
  return [...lines, "});", "console.log(response.status, await response.text());"].join("\n");
}

function python(request) {
  const { method, url, headers, body } = parts(request);
  const lines = [
    "from urllib.request import Request, urlopen",
    "",
    "request = Request(",
    `    ${JSON.stringify(url)},`,
    `    method=${JSON.stringify(method)},`,
    // The literals of strings and of objects of strings are the same in both languages.
    `    headers=${JSON.stringify(headers, null, 4).replaceAll("\n", "\n    ")},`,
  ];
  if (body !== undefined) lines.push(`    data=${JSON.stringify(body)}.encode(),`);
  return [...lines, ")", "with urlopen(request) as response:", "    print(response.status, response.read().decode())"].join("\n");
}

function parts(request) {
  const body = request.get("body");
  return {
    method: request.get("method").toUpperCase(),
    url: request.get("url"),
    headers: request.get("headers")?.toJS() ?? {},
    body: body === undefined || typeof body === "string" ? body : JSON.stringify(body.toJS?.() ?? body),
  };
}
