/**
 * Watch a background job from a browser, or from Node 20 or later. No dependencies; the types and
 * every option are in client.d.ts.
 *
 *     import { watchJob } from "/client.js";
 *
 *     const watch = watchJob({ kind: "video", id: 7, getToken, onState: draw });
 *     watch.close();
 *
 * The watch sends one plain request first. Then it uses the best *mode* that works through the proxies
 * in between: Server-Sent Events; else long polls, which the server holds until something changes;
 * else polls. A mode that fails twice in a row while plain requests succeed is replaced by the next
 * one, and is tried again later. While the server is unavailable, the watch retries.
 *
 * A *state* is the JSON of the progress answer; its *version* is that answer's entity tag without
 * quotes. The same state is not reported twice in a row, and an older state is not reported after a
 * newer one. The final state (done, failed, cancelled) is reported once and closes the watch. Times
 * are in milliseconds.
 */

// Without a prototype, so that "constructor" is not found in them.
const PATHS = { __proto__: null, job: "/api/v1/jobs", video: "/media/videos" };
const RANKS = { __proto__: null, PENDING: 0, UPLOADED: 0, PROCESSING: 1, FAILED: 2, CANCELLED: 2, DONE: 3, READY: 3 };
const PASSING = [408, 425, 429]; // statuses after which to retry

const TIMING = {
  wait: 25_000, // how long the server may hold a long poll
  pace: 250, // between two long polls
  poll: 3_000, // between two polls, unless the server sends `Retry-After`
  answer: 15_000, // the time limit for an answer
  opening: 5_000, // the time limit for the first event of a live stream
  quiet: 30_000, // after this time without events, a plain request checks whether one was missed
  climb: 60_000, // after this time, a better mode is tried again; doubled each time
  backoff: 500, // before the first retry; doubled each time, up to `backoffMost`
  backoffMost: 15_000,
};

/** Return whether a state is final. Only a new attempt, or a late `done` after a failure, follows it. */
export function ended(state) {
  return rank(state) >= 2;
}

/** An error that ended a watch; `problem` is the server's problem+json, or has the same form. */
export class WatchError extends Error {
  constructor(problem, retryAfter = 0) {
    super(problem.detail || problem.title);
    this.name = "WatchError";
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** Watch a job until it has ended, a permanent error occurs, or `close()` is called. */
export function watchJob(options) {
  const watch = new Watch(options);
  watch.run();
  return { close: () => watch.close() };
}

/** Watch a job as an async iterator, which skips to the latest state if its reader is slow. */
export async function* states(options) {
  let latest, problem, closed, wake;
  const also = (name, note) => (value) => {
    note(value);
    wake?.();
    options[name]?.(value);
  };
  const watch = watchJob({
    ...options,
    onState: also("onState", (state) => (latest = state)),
    onError: also("onError", (given) => (problem = given)),
    onClose: also("onClose", () => (closed = true)),
  });
  try {
    while (latest || !closed) {
      const state = latest;
      latest = undefined;
      if (state) yield state;
      else await new Promise((resolve) => (wake = resolve));
    }
    if (problem) throw new WatchError(problem);
  } finally {
    watch.close();
  }
}

class Watch {
  #options;
  #timing;
  #path;
  #modes;
  #mode = 0; // the index in `modes`
  #failures = 0; // of the current mode, in a row
  #descents = 0;
  #climbAt = 0;
  #streamed = false; // whether a live stream has delivered a state
  #connection;
  #token;
  #retryAfter;
  #text;
  #version;
  #state;
  #stop = new AbortController();

  constructor(options) {
    const { baseUrl = "", kind, id, signal, waitForJob = 10_000 } = options;
    const { fetch = globalThis.fetch, EventSource = globalThis.EventSource } = options;
    if (!(kind in PATHS)) throw new TypeError(`kind is "${Object.keys(PATHS).join('" or "')}", not ${kind}`);
    if (id === undefined || id === null || id === "") throw new TypeError("id is missing");
    this.#options = { ...options, fetch, EventSource, waitForJob };
    this.#timing = { ...TIMING, ...options.timing };
    this.#path = `${String(baseUrl).replace(/\/+$/, "")}${PATHS[kind]}/${encodeURIComponent(id)}/progress/`;
    this.#modes = [...(EventSource ? ["sse"] : []), "long-poll", "polling"];
    signal?.addEventListener("abort", () => this.close(), { signal: this.#stop.signal });
    if (signal?.aborted) this.close();
  }

  close() {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#call("onClose");
  }

  async run() {
    try {
      await this.#renewToken();
      await this.#refresh();
      for (;;) await this.#follow();
    } catch (error) {
      if (this.#stop.signal.aborted) return; // closed on purpose
      this.#call("onError", problemOf(error));
      this.close();
    }
  }

  async #follow() {
    if (this.#mode > 0 && Date.now() >= this.#climbAt) {
      this.#mode = 0;
      this.#failures = 1; // one more failure, and the mode is left again
    }
    const mode = this.#modes[this.#mode];
    if (mode === "sse") await this.#followStream();
    else if (mode === "long-poll") await this.#longPoll();
    else await this.#poll();
  }

  async #followStream() {
    const began = Date.now();
    const { delivered, silent } = await this.#stream();
    const lasted = Date.now() - began >= this.#timing.opening;
    await this.#pause(this.#backoff(this.#failures));
    const answered = await this.#refresh();
    this.#recordResult(!answered || (!silent && (delivered || lasted)), answered && silent);
  }

  async #longPoll() {
    const began = Date.now();
    this.#connected("long-poll");
    try {
      const news = await this.#request(this.#timing.wait);
      this.#recordResult(news || Date.now() - began >= Math.min(1_000, this.#timing.wait / 2));
      await this.#pause(this.#timing.pace);
    } catch (error) {
      this.#stop.signal.throwIfAborted();
      await this.#pause(this.#backoff(this.#failures));
      const answered = await this.#refresh();
      this.#recordResult(!answered, problemOf(error).status === 400);
    }
  }

  async #poll() {
    this.#connected("polling");
    await this.#pause((this.#retryAfter ?? this.#timing.poll) * (0.9 + Math.random() / 5));
    await this.#refresh();
  }

  /** Record whether the mode worked; leave it if it is `useless` or has failed twice in a row. */
  #recordResult(worked, useless = false) {
    this.#failures = worked ? 0 : this.#failures + 1;
    if (!useless && this.#failures < 2) return;
    this.#mode += 1;
    this.#failures = 0;
    this.#streamed = false;
    this.#climbAt = Date.now() + this.#timing.climb * 2 ** Math.min(this.#descents++, 4);
  }

  /**
   * Read one live stream until it ends. Returns whether it delivered a state, and whether it is
   * silent although the state has changed, which means that a proxy buffers it.
   *
   * The first stream requests the current state, although it is known, to prove that states arrive.
   * Later ones resume. The reconnecting of EventSource is not used: it stops at a status other than
   * 200, and it reconnects with the old token.
   */
  #stream() {
    return this.#until((over) => {
      let delivered = false, timer;
      let proven = this.#streamed;
      const source = new this.#options.EventSource(this.#streamUrl());
      const onEvent = () => {
        this.#connected("sse");
        clearTimeout(timer);
        timer = setTimeout(check, this.#timing.quiet);
      };
      const check = async () => {
        const news = await this.#request().catch(() => undefined);
        if (news === false && source.readyState !== 2) onEvent();
        else over({ delivered, silent: news === true });
      };
      source.addEventListener("open", () => proven && onEvent());
      source.addEventListener("state", (event) => {
        proven = delivered = this.#streamed = true;
        onEvent();
        this.#accept(event.data, event.lastEventId);
      });
      source.addEventListener("error", () => over({ delivered, silent: false }));
      timer = setTimeout(() => over({ delivered, silent: true }), this.#timing.opening);
      return () => {
        clearTimeout(timer);
        source.close();
      };
    });
  }

  /**
   * Send plain requests until one returns a state; returns whether the first one did.
   *
   * Throws a WatchError if retrying cannot help: credentials that stay invalid with a new token, a
   * job that does not appear, or any other refused request.
   */
  async #refresh() {
    let renewed = false, missingSince, hold = 0;
    for (let tries = 0; ; tries++) {
      try {
        await this.#request(hold);
        return tries === 0;
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        const problem = problemOf(error), { status } = problem;
        hold = 0; // in case a proxy does not allow long polls, the next request is a plain one
        if (status === 401 && this.#options.getToken && !renewed) {
          renewed = true;
          await this.#renewToken();
        } else if (status === 404 && Date.now() - (missingSince ??= Date.now()) < this.#options.waitForJob) {
          await this.#pause(Math.min(1_000, this.#backoff(tries)));
          // The server answers as soon as the job exists.
          const left = this.#options.waitForJob - (Date.now() - missingSince);
          hold = Math.min(this.#timing.wait, Math.max(left, 0));
        } else if (status >= 400 && status < 500 && !PASSING.includes(status)) {
          throw error;
        } else {
          this.#connected("offline", problem);
          await this.#pause(Math.max(error.retryAfter ?? 0, this.#backoff(tries)));
        }
      }
    }
  }

  /** Send one request, to be held for `wait`; returns whether it brought a new state. */
  async #request(wait = 0) {
    const headers = { accept: "application/json" };
    if (this.#version) headers["if-none-match"] = `"${this.#version}"`;
    if (this.#token) headers.authorization = `Bearer ${this.#token}`;
    if (this.#options.tenant !== undefined) headers["x-tenant-id"] = String(this.#options.tenant);
    const url = this.#path + (wait ? `?wait=${wait / 1_000}` : "");
    const { status, tag, text } = await this.#send(url, headers, wait + this.#timing.answer);
    if (status === 304) return false;
    if (status === 200) return this.#accept(text, /"(\w+)/.exec(tag)?.[1]);
    const problem = { title: "unexpected answer", ...parsed(text), status };
    throw new WatchError(problem, this.#retryAfter);
  }

  async #send(url, headers, limit) {
    const request = new AbortController();
    const abort = () => request.abort();
    const timer = setTimeout(abort, limit);
    this.#stop.signal.addEventListener("abort", abort, { signal: request.signal });
    try {
      const { fetch } = this.#options; // called without an object: the browser's requires it
      const response = await fetch(url, { headers, cache: "no-store", signal: request.signal });
      const seconds = parseFloat(response.headers.get("retry-after"));
      this.#retryAfter = seconds >= 0 ? Math.min(seconds * 1_000, 60_000) : undefined;
      return { status: response.status, tag: response.headers.get("etag"), text: await response.text() };
    } catch (error) {
      throw new WatchError({ title: "no answer", status: 0, detail: String(error?.message ?? error) });
    } finally {
      clearTimeout(timer);
      abort(); // the request has ended; this removes the listener
    }
  }

  /** Report a state unless it is known or older than the known one; returns whether it did. */
  #accept(text, version) {
    const known = this.#stop.signal.aborted || text === this.#text;
    const state = known ? undefined : parsed(text);
    if (!state || isBehind(state, this.#state)) return false;
    this.#text = text;
    this.#version = version;
    this.#state = state;
    this.#call("onState", state);
    if (ended(state)) {
      this.#call("onEnd", state);
      this.close();
    }
    return true;
  }

  async #renewToken() {
    const { getToken, token } = this.#options;
    try {
      this.#token = getToken ? await getToken() : token;
    } catch (error) {
      throw new WatchError({ title: "no token", status: 401, detail: String(error?.message ?? error) });
    }
    this.#stop.signal.throwIfAborted();
  }

  #streamUrl() {
    const known = this.#streamed ? this.#version : undefined;
    const query = { access_token: this.#token, tenant: this.#options.tenant, last_event_id: known };
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    return `${this.#path}events?${new URLSearchParams(given)}`;
  }

  #connected(mode, problem) {
    if (this.#connection === mode || this.#stop.signal.aborted) return;
    this.#connection = mode;
    this.#call("onConnection", mode, problem);
  }

  /** Call a callback; an error in it is reported by the page and does not end the watch. */
  #call(name, ...values) {
    if (this.#stop.signal.aborted && name !== "onClose") return;
    try {
      this.#options[name]?.(...values);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** Return a random time from half to all of a time that doubles with each failure. */
  #backoff(failures) {
    const { backoff, backoffMost } = this.#timing;
    return Math.min(backoffMost, backoff * 2 ** Math.min(failures, 16)) * (0.5 + Math.random() / 2);
  }

  #pause(time) {
    return this.#until((over) => {
      const timer = setTimeout(over, time);
      return () => clearTimeout(timer);
    });
  }

  /** Wait until `begin` calls its callback or the watch is closed; then call what `begin` returned. */
  async #until(begin) {
    const { signal } = this.#stop;
    signal.throwIfAborted();
    let undo, stopped;
    try {
      return await new Promise((resolve, reject) => {
        stopped = () => reject(signal.reason);
        signal.addEventListener("abort", stopped);
        undo = begin(resolve);
      });
    } finally {
      signal.removeEventListener("abort", stopped);
      undo?.();
    }
  }
}

function rank(state) {
  return RANKS[state.status] ?? 1;
}

/** Return whether a state is of a lower attempt than another, or of an earlier stage of the same one. */
function isBehind(state, other) {
  if (!other) return false;
  const attempts = (state.attempt ?? 0) - (other.attempt ?? 0);
  return attempts < 0 || (attempts === 0 && rank(state) < rank(other));
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}

function problemOf(error) {
  return error.problem ?? { title: "client error", status: 0, detail: String(error) };
}
