// Shows openapi.json in Swagger UI, which is served from swagger-ui/ as it is in its npm package. What
// a strict Content-Security-Policy forbids, or what it lacks, is added by plugins.

import { fetchLive } from "./live.js";
import { plainText } from "./plain_text.js";
import { searchOperations } from "./search.js";
import { generators, snippets } from "./snippets.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const url = new URL("openapi.json", document.baseURI);

followColorScheme();
dark.addEventListener("change", followColorScheme);
try {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  show(await answer.json());
} catch (error) {
  const failure = document.querySelector("#failure");
  failure.textContent = `openapi.json could not be loaded: ${error.message}`;
  failure.hidden = false;
}

function show(spec) {
  // Behind a proxy that serves the API under a prefix, requests need the prefix, too.
  spec.servers = [{ url: new URL(".", url).href.replace(/\/$/, "") }];
  globalThis.SwaggerUIBundle({
    spec,
    dom_id: "#viewer",
    plugins: [plainText, searchOperations, snippets],
    requestInterceptor: (request) => Object.assign(request, { userFetch: fetchLive }),
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayOperationId: true,
    displayRequestDuration: true,
    filter: true,
    persistAuthorization: true,
    requestSnippets: { generators, languages: Object.keys(generators) },
    requestSnippetsEnabled: true,
    syntaxHighlight: { theme: "nord" },
    tryItOutEnabled: true,
    validatorUrl: null,
  });
}

function followColorScheme() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}
