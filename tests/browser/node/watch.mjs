// Runs a watch of the package in Node and prints what it calls and requests, one JSON line each:
// watch.mjs PACKAGE FUNCTION OPTIONS. Each line of the standard input is a call of one of the
// watch's methods, such as ["setIds", ["a1"]]. `tokens` in the options are returned by `getToken` in turn;
// with `hold`, live streams are never answered.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, name, text] = process.argv.slice(2);
const { tokens, hold, ...options } = JSON.parse(text);
const client = await import(pathToFileURL(`${folder}/client.js`));
const print = (name) => (...values) => console.log(JSON.stringify([name, ...values]));

async function fetch(url, init) {
  const { pathname, search } = new URL(url);
  print("request")(`${init.method ?? "GET"} ${pathname}${search}`);
  if (hold && pathname.endsWith("/events")) {
    await new Promise((_, reject) => init.signal.addEventListener("abort", () => reject(init.signal.reason)));
  }
  return globalThis.fetch(url, init);
}

const callbacks = ["onState", "onEnd", "onMissing", "onAfter", "onError", "onConnectionState", "onConnection"];
for (const each of callbacks) options[each] = print(each);
if (tokens) options.getToken = () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
const onClose = () => {
  print("onClose")();
  process.stdin.destroy();
};
const watch = client[name]({ ...options, fetch, onClose });
createInterface(process.stdin).on("line", (line) => {
  const [method, ...values] = JSON.parse(line);
  watch[method](...values);
});
