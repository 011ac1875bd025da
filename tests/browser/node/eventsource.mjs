// Prints the states of a stream, by the npm package: eventsource.mjs NODE_MODULES URL
import { createRequire } from "node:module";

const [modules, url] = process.argv.slice(2);
const { EventSource } = createRequire(`${modules}/`)("eventsource");

const source = new EventSource(url);
source.addEventListener("state", (event) => console.log(event.data));
source.addEventListener("error", (event) => {
  // While it is going to come back by itself, it is not closed.
  if (source.readyState === source.CLOSED) console.log(`closed by ${event.code}`);
});
