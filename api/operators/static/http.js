// Requests to the server. The token is kept in this tab's session storage and sent as a header only; other tabs of the
// console may ask for it (shared_token.js).

import { recall, remember } from "./stored.js";
import { language, t } from "./text.js";

const URL_PREFIX = new URL("../api/v1/ops/", document.baseURI).pathname;
const MAX_CACHED = 40; // answers
const KEY = "jobtrail-token", AFTER = "jobtrail-after"; // the token, and the sign-outs before it
const SIGN_OUTS = `sign-outs ${URL_PREFIX}`; // the number of them in this browser; the token is never kept there
const TIMEOUT = 12_000; // milliseconds
const OWN_WORDS = ["read-only", "not-recorded"]; // types of problems

let skew = 0;
const known = new Map();

/** An error answer, or no answer (status 0). */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function signIn(token) {
  known.clear();
  sessionStorage.setItem(KEY, token);
  sessionStorage.setItem(AFTER, recall(SIGN_OUTS, 0));
}

export function signOut() {
  known.clear();
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(AFTER);
}

/** Note a sign-out for tabs that are not running now, such as one whose page will be loaded again. */
export function noteSignOut() {
  remember(SIGN_OUTS, recall(SIGN_OUTS, 0) + 1);
}

/** Return whether another tab has signed out since this one got its token. */
export function signedOutElsewhere() {
  return signedIn() && Number(sessionStorage.getItem(AFTER)) !== recall(SIGN_OUTS, 0);
}

export function signedIn() {
  return currentToken() !== null;
}

/** Return the token, or null. */
export function currentToken() {
  return sessionStorage.getItem(KEY);
}

/** Return an estimate of the server's time, in milliseconds since 1970. */
export function serverNow() {
  return Date.now() + skew;
}

/** Return the last answer to a path, which may be out of date; undefined without one. */
export function lastAnswer(path) {
  return known.get(path)?.facts;
}

/** GET a path; an answer that has not changed comes from the cache. Without `keep`, the answer is not kept. */
export async function get(path, { keep = true, ...options } = {}) {
  const before = known.get(path);
  const extra = before ? { "if-none-match": before.etag } : {};
  const response = await send(path, { headers: headers(extra), ...options });
  const now = Number(response.headers.get("x-jobtrail-now"));
  if (now) skew = now - Date.now();
  if (response.status === 304) return before.facts;
  const facts = await read(response);
  if (!keep) return facts;
  known.delete(path);
  known.set(path, { etag: response.headers.get("etag"), facts });
  if (known.size > MAX_CACHED) known.delete(known.keys().next().value);
  return facts;
}

/** POST a path; requests with the same id are one action in the audit log. */
export async function post(path, requestId = null) {
  const extra = requestId === null ? {} : { "x-request-id": requestId };
  return read(await send(path, { method: "POST", headers: headers(extra) }));
}

/** Return a path of these parts, each encoded. */
export function path(...parts) {
  return `${parts.map(encodeURIComponent).join("/")}/`;
}

async function send(where, options) {
  try {
    // Without a time limit, a hanging server would leave the last answer on the page as current.
    const signal = AbortSignal.any([AbortSignal.timeout(TIMEOUT), ...(options.signal ? [options.signal] : [])]);
    return await fetch(URL_PREFIX + where, { ...options, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    throw unanswered(error);
  }
}

async function read(response) {
  if (!response.ok) throw new Refused(response.status, message(response.status, await response.json().catch(() => ({}))));
  try {
    return await response.json();
  } catch (error) {
    throw unanswered(error); // a part of the body came, or it is not JSON: `get` must not cache that
  }
}

/** Return the error to throw when there is no complete answer. */
function unanswered(error) {
  if (error.name === "AbortError") return error;
  return new Refused(0, error.name === "TimeoutError" ? t("shell.noAnswerIn", { time: t("time.s", { n: TIMEOUT / 1000 }) }) : t("shell.noAnswer"));
}

function headers(extra = {}) {
  const token = currentToken();
  // For the dev mode; the jwt mode ignores this header.
  const credentials = token === null ? { "x-tenant-id": "console" } : { authorization: `Bearer ${token}` };
  return { "x-jobtrail-console": "1", "accept-language": language, ...credentials, ...extra };
}

function message(status, facts) {
  if (OWN_WORDS.includes(facts.type)) return facts.detail; // in the language of the console
  if (status === 401) return t("shell.tokenInvalid");
  if (status === 403) return t("shell.tokenScope");
  if (status === 404) return t("shell.nothingHere");
  if (status === 503) return t("shell.missing", { servers: (facts.missing ?? [t("shell.aServer")]).join(", ") });
  if (!facts.detail) return t("shell.answered", { status: String(status) });
  const part = [facts.parameter, facts.reason].filter(Boolean).join(": ");
  return part ? t("shell.notValidPart", { detail: facts.detail, part }) : facts.detail;
}
