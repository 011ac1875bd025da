// Prints the states that a watch of the package reads from an event stream that arrives in pieces:
// chunks.mjs PACKAGE PIECES, which are JSON texts.
import { pathToFileURL } from "node:url";

const [folder, pieces] = process.argv.slice(2);
const { watchTenant } = await import(pathToFileURL(`${folder}/client.js`));
const encoder = new TextEncoder();
const told = [];
let opened = 0;

async function fetch(url, { headers }) {
  if (!url.endsWith("/events")) return Response.json({});
  if (opened++) {
    console.log(JSON.stringify({ told, resumed: headers["last-event-id"] }));
    process.exit();
  }
  const bytes = JSON.parse(pieces).map((piece) => encoder.encode(piece));
  const body = new ReadableStream({
    start(controller) {
      for (const piece of bytes) controller.enqueue(piece);
      controller.close();
    },
  });
  return new Response(body);
}

watchTenant({ baseUrl: "http://localhost", stream: "fetch", fetch, onState: (state, job) => told.push([job, state]) });
