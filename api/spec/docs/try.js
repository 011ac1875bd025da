// A form that sends a request and shows the response as it arrives; a live stream runs until stopped.

import { element } from "./elements.js";

const MAX_SHOWN = 100_000; // characters of a response

export function tryForm(operation, { credentials, security, base }) {
  const inputs = (operation.parameters ?? []).map(field);
  const content = operation.requestBody?.content["application/json"];
  const body = content && element("textarea", { rows: "6", "aria-label": "Body" });
  if (body) body.value = JSON.stringify(content.example ?? {}, null, 2);
  const send = element("button", { type: "submit" }, "Send");
  const stop = element("button", { type: "button", disabled: "" }, "Stop");
  const status = element("p", { role: "status" });
  const output = element("pre", { tabindex: "0", "aria-label": "Answer", hidden: "" });
  const form = element("form", {}, ...inputs.map((each) => each.label));
  if (body) form.append(body);
  form.append(send, stop, status, output);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const controller = new AbortController();
    stop.onclick = () => controller.abort();
    send.disabled = true;
    stop.disabled = false;
    output.hidden = false;
    output.textContent = "";
    status.className = "";
    status.textContent = "…";
    try {
      const request = requestOf(operation, inputs, body, { credentials, security, base });
      const answer = await fetch(request, { signal: controller.signal });
      status.className = answer.ok ? "good" : "bad";
      status.textContent = `${answer.status} ${answer.statusText}`;
      await show(answer, output);
    } catch (error) {
      if (error.name !== "AbortError") {
        status.className = "bad";
        status.textContent = `No response: ${error.message}`;
      }
    } finally {
      send.disabled = false;
      stop.disabled = true;
    }
  });
  return form;
}

function field(parameter) {
  const values = parameter.schema.enum;
  const input = values
    ? element("select", {}, ...["", ...values].map((value) => element("option", {}, value)))
    : element("input", { autocomplete: "off", spellcheck: "false" });
  input.name = parameter.name;
  input.required = Boolean(parameter.required);
  if (parameter.schema.type === "array") input.placeholder = "separate values with &";
  if (parameter.example !== undefined && parameter.required) input.value = parameter.example;
  return { parameter, input, label: element("label", {}, parameter.name, input) };
}

function requestOf(operation, inputs, body, { credentials, security, base }) {
  let path = operation.path.slice(1);
  const query = new URLSearchParams();
  const headers = new Headers();
  for (const { parameter, input } of inputs) {
    const value = input.value;
    if (value === "") continue;
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (parameter.in === "header") headers.set(parameter.name, value);
    else if (parameter.schema.type === "array") for (const each of value.split("&")) query.append(parameter.name, each);
    else query.set(parameter.name, value);
  }
  for (const scheme of security) {
    const value = credentials.get(scheme.name);
    if (!value || scheme.in === "query") continue;
    if (scheme.type === "http") headers.set("Authorization", `Bearer ${value}`);
    else headers.set(scheme.header, value);
  }
  const url = new URL(path, base);
  url.search = query;
  const request = { method: operation.method.toUpperCase(), headers, cache: "no-store" };
  if (body) {
    request.body = body.value;
    headers.set("Content-Type", "application/json");
  }
  return new Request(url, request);
}

async function show(answer, output) {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  const json = /json/.test(answer.headers.get("Content-Type") ?? "");
  let text = "";
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true };
    if (done) break;
    text = (text + value).slice(-MAX_SHOWN);
    output.textContent = text;
  }
  if (json && text) output.textContent = pretty(text);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
