// Prints the messages that two npm packages read from a recorded stream, one JSON line a package:
// parsers.mjs NODE_MODULES FILE
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const [modules, file] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { EventSource } = require("eventsource");
const bytes = await readFile(file);
const headers = { "content-type": "text/event-stream" };

// The package is made for browsers: what it uses of them.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = require("@microsoft/fetch-event-source");

const fetched = [];
await fetchEventSource("http://localhost/", {
  fetch: async () => new Response(bytes, { headers }),
  onmessage: ({ event, id, data }) => fetched.push([event, id, data]),
});
console.log(JSON.stringify(fetched));

const sourced = [];
let answers = 0;
const source = new EventSource("http://localhost/", {
  // A stream that ends is asked for again; 204 ends that.
  fetch: async () => (answers++ ? new Response(null, { status: 204 }) : new Response(bytes, { headers })),
});
for (const type of ["state", "message"]) {
  source.addEventListener(type, ({ lastEventId, data }) => sourced.push([type, lastEventId, data]));
}
source.addEventListener("error", () => {
  if (source.readyState === source.CLOSED) console.log(JSON.stringify(sourced));
});
