// The issues of the last day as last known: those of a server that is away stay as they were.

import { get } from "./http.js";

const EVERY = 20_000; // milliseconds
const OF_POSTGRESQL = ["failing"]; // the causes that PostgreSQL knows; Redis knows the others

let known = null, askedAt = -Infinity;

/** Return the answer of `issues/`, which is not older than 20 s if the servers answer; null if it was never known. */
export async function pastIssues(signal) {
  if (Date.now() - askedAt < EVERY) return known;
  try {
    const answer = await get("issues/", { signal });
    askedAt = Date.now();
    known = { ...answer, issues: [...answer.issues, ...kept(answer.missing)] };
  } catch (error) {
    if (signal.aborted || error.status === 401) throw error; // else the page itself says that the server does not answer
  }
  return known;
}

/** Return the issues that only a server knows which is away now. */
function kept(missing) {
  const isKept = (each) => missing.includes(OF_POSTGRESQL.includes(each.cause) ? "postgresql" : "redis");
  return (known?.issues ?? []).filter(isKept);
}

/** Forget them, because somebody else may sign in. */
export function forgetIssues() {
  known = null;
  askedAt = -Infinity;
}
