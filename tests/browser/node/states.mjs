// Prints the states of job a1 of tenant t by client.js as the API serves it:
// states.mjs NODE_MODULES API MODE, where "sse" takes the npm package's EventSource, and any other
// mode none.
import { createRequire } from "node:module";

const [modules, baseUrl, mode] = process.argv.slice(2);
const EventSource = mode === "sse" ? createRequire(`${modules}/`)("eventsource").EventSource : null;
const source = await (await fetch(`${baseUrl}/client.js`)).text();
const { states } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

try {
  const options = { baseUrl, kind: "job", id: "a1", tenant: "t", waitForJob: 0, EventSource };
  for await (const state of states(options)) console.log(JSON.stringify(state));
} catch (error) {
  console.log(JSON.stringify({ problem: error.problem }));
}
