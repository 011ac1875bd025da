// Asking the server. The token stays in this tab's session storage and goes out as a header only.

const URL_PREFIX = new URL("../api/v1/ops/", document.baseURI).pathname;
const REMEMBERED = 40;
const KEY = "jobtrail-token";
const PATIENCE = 12_000;

let skew = 0;
const known = new Map();

/** An answer that is no success. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function signIn(token) {
  known.clear();
  sessionStorage.setItem(KEY, token);
}

export function signOut() {
  known.clear();
  sessionStorage.removeItem(KEY);
}

export function signedIn() {
  return sessionStorage.getItem(KEY) !== null;
}

/** Give the server's clock, in milliseconds, as well as it is known. */
export function serverNow() {
  return Date.now() + skew;
}

/** Read; what has not changed since costs a few bytes. */
export async function get(path, options = {}) {
  const before = known.get(path);
  const extra = before ? { "if-none-match": before.etag } : {};
  const response = await ask(path, { headers: headers(extra), ...options });
  const now = Number(response.headers.get("x-jobtrail-now"));
  if (now) skew = now - Date.now();
  if (response.status === 304) return before.facts;
  const facts = await read(response);
  known.delete(path);
  known.set(path, { etag: response.headers.get("etag"), facts });
  if (known.size > REMEMBERED) known.delete(known.keys().next().value);
  return facts;
}

export async function post(path) {
  return read(await ask(path, { method: "POST", headers: headers() }));
}

/** Give a path of parts, each encoded. */
export function path(...parts) {
  return `${parts.map(encodeURIComponent).join("/")}/`;
}

async function ask(where, options) {
  try {
    // A server that hangs must not leave the last answer on the page as if it were the present one.
    const signal = AbortSignal.any([AbortSignal.timeout(PATIENCE), ...(options.signal ? [options.signal] : [])]);
    return await fetch(URL_PREFIX + where, { ...options, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, error.name === "TimeoutError" ? `No answer in ${PATIENCE / 1000} s.` : "The server does not answer.");
  }
}

async function read(response) {
  const facts = await response.json().catch(() => ({}));
  if (response.ok) return facts;
  throw new Refused(response.status, words(response.status, facts));
}

function headers(extra = {}) {
  const token = sessionStorage.getItem(KEY);
  // In dev mode a caller is whoever it says it is; with a token this header says nothing.
  const who = token === null ? { "x-tenant-id": "console" } : { authorization: `Bearer ${token}` };
  return { "x-jobtrail-console": "1", ...who, ...extra };
}

function words(status, facts) {
  if (status === 401) return "This token is not valid, or not any more.";
  if (status === 403) return "This token lacks the scope “ops”.";
  if (status === 404) return "There is no such thing, or not any more.";
  if (status === 503) return `${(facts.missing ?? ["A server"]).join(", ")} is away, or took too long.`;
  return facts.detail ?? `The server answered ${status}.`;
}
