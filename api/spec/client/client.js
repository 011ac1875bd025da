/**
 * Watch a background job from a browser, or from Node 20 or later. No dependencies; the types and
 * every option are in client.d.ts.
 *
 *     import { watchJob } from "/client.js";
 *
 *     const watch = watchJob({ kind: "video", id: 7, getToken, onState: draw });
 *     watch.close();
 *
 * It asks once, plainly, and then follows the best *mode* that what stands between lets through:
 * Server-Sent Events; else long-polls, which the server holds until something changes; else polls.
 * A mode that fails twice in a row while plain requests are answered gives way to the next one, and
 * is tried again after a while. A server that is away is waited for, in whatever mode.
 *
 * A *state* is the JSON of the progress answer, its *version* that answer's entity tag without the
 * quotes. The same state is not told twice in a row, nor an older one after a newer. The end (done,
 * failed, cancelled) is told once and closes the watch. Times are in milliseconds.
 */

// Without a prototype: only the names that stand here are found, not "constructor".
const PATHS = { __proto__: null, job: "/api/v1/jobs", video: "/media/videos" };
const RANKS = { __proto__: null, PENDING: 0, UPLOADED: 0, PROCESSING: 1, FAILED: 2, CANCELLED: 2, DONE: 3, READY: 3 };
const PASSING = [408, 425, 429]; // of the refusals, those that ask for patience

const TIMING = {
  wait: 25_000, // how long the server is asked to hold a long-poll
  pace: 250, // between two long-polls
  poll: 3_000, // between two polls, where the server gives no hint
  answer: 15_000, // how long an answer may take
  opening: 5_000, // how long a stream's first word may take
  quiet: 30_000, // after so long without a word, a plain request tells whether there was one to say
  climb: 60_000, // after so long, a better mode is tried again; twice as long each time
  backoff: 500, // before a first retry; twice as long each time, up to `backoffMost`
  backoffMost: 15_000,
};

/** Whether a state is an end. Only a new attempt, or a late `done` after a failure, follows one. */
export function ended(state) {
  return rank(state) >= 2;
}

/** Why a watch cannot go on; `problem` is the server's problem+json, or one of the same form. */
export class WatchError extends Error {
  constructor(problem, retryAfter = 0) {
    super(problem.detail || problem.title);
    this.name = "WatchError";
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** Watch a job until its end, an error that waiting does not mend, or `close()`. */
export function watchJob(options) {
  const watch = new Watch(options);
  watch.run();
  return { close: () => watch.close() };
}

/** The same as an async iterator, which skips to the latest state where its reader is slow. */
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
  #mode = 0; // its place in `modes`
  #failures = 0; // of the mode, in a row
  #descents = 0;
  #climbAt = 0;
  #streamed = false; // whether a stream got through
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
    this.#tell("onClose");
  }

  async run() {
    try {
      await this.#renewToken();
      await this.#look();
      for (;;) await this.#follow();
    } catch (error) {
      if (this.#stop.signal.aborted) return; // closed: whatever was waited for gave up
      this.#tell("onError", problemOf(error));
      this.close();
    }
  }

  async #follow() {
    if (this.#mode > 0 && Date.now() >= this.#climbAt) {
      this.#mode = 0;
      this.#failures = 1; // one more, and it is left again
    }
    const mode = this.#modes[this.#mode];
    if (mode === "sse") await this.#followStream();
    else if (mode === "long-poll") await this.#longPoll();
    else await this.#poll();
  }

  async #followStream() {
    const began = Date.now();
    const { told, silent } = await this.#stream();
    const lasted = Date.now() - began >= this.#timing.opening;
    await this.#pause(this.#backoff(this.#failures));
    const answered = await this.#look();
    this.#judge(!answered || (!silent && (told || lasted)), answered && silent);
  }

  async #longPoll() {
    const began = Date.now();
    this.#connected("long-poll");
    try {
      const news = await this.#ask(this.#timing.wait);
      this.#judge(news || Date.now() - began >= Math.min(1_000, this.#timing.wait / 2));
      await this.#pause(this.#timing.pace);
    } catch (error) {
      this.#stop.signal.throwIfAborted();
      await this.#pause(this.#backoff(this.#failures));
      const answered = await this.#look();
      this.#judge(!answered, problemOf(error).status === 400);
    }
  }

  async #poll() {
    this.#connected("polling");
    await this.#pause((this.#retryAfter ?? this.#timing.poll) * (0.9 + Math.random() / 5));
    await this.#look();
  }

  /** Note how the mode did, and leave it where it is `useless` or failed twice in a row. */
  #judge(worked, useless = false) {
    this.#failures = worked ? 0 : this.#failures + 1;
    if (!useless && this.#failures < 2) return;
    this.#mode += 1;
    this.#failures = 0;
    this.#streamed = false;
    this.#climbAt = Date.now() + this.#timing.climb * 2 ** Math.min(this.#descents++, 4);
  }

  /**
   * Follow one stream until it breaks. Gives whether it told a state, and whether it is silent
   * though there is something to say: then a proxy holds it back.
   *
   * The first stream is asked for the present state, known as it is: to prove that states get
   * through. Later ones resume. EventSource's own reconnecting is not used: it ends for good at a
   * status that is not 200, and comes back with the token that it left with.
   */
  #stream() {
    return this.#until((over) => {
      let told = false, timer;
      let proven = this.#streamed;
      const source = new this.#options.EventSource(this.#streamUrl());
      const heard = () => {
        this.#connected("sse");
        clearTimeout(timer);
        timer = setTimeout(check, this.#timing.quiet);
      };
      const check = async () => {
        const news = await this.#ask().catch(() => undefined);
        if (news === false && source.readyState !== 2) heard();
        else over({ told, silent: news === true });
      };
      source.addEventListener("open", () => proven && heard());
      source.addEventListener("state", (event) => {
        proven = told = this.#streamed = true;
        heard();
        this.#take(event.data, event.lastEventId);
      });
      source.addEventListener("error", () => over({ told, silent: false }));
      timer = setTimeout(() => over({ told, silent: true }), this.#timing.opening);
      return () => {
        clearTimeout(timer);
        source.close();
      };
    });
  }

  /**
   * Ask plainly until the server answers with a state; gives whether it did so at once.
   *
   * Throws what waiting does not mend: credentials that a new token does not mend either, a job
   * that does not appear, any other refusal.
   */
  async #look() {
    let renewed = false, missingSince, hold = 0;
    for (let tries = 0; ; tries++) {
      try {
        await this.#ask(hold);
        return tries === 0;
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        const problem = problemOf(error), { status } = problem;
        hold = 0; // where a proxy does not let requests stay, the next one is a plain one
        if (status === 401 && this.#options.getToken && !renewed) {
          renewed = true;
          await this.#renewToken();
        } else if (status === 404 && Date.now() - (missingSince ??= Date.now()) < this.#options.waitForJob) {
          await this.#pause(Math.min(1_000, this.#backoff(tries)));
          // The server answers as soon as the job is there.
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

  /** Ask once, to be held for `wait`; gives whether the answer is news. Throws a WatchError. */
  async #ask(wait = 0) {
    const headers = { accept: "application/json" };
    if (this.#version) headers["if-none-match"] = `"${this.#version}"`;
    if (this.#token) headers.authorization = `Bearer ${this.#token}`;
    if (this.#options.tenant !== undefined) headers["x-tenant-id"] = String(this.#options.tenant);
    const url = this.#path + (wait ? `?wait=${wait / 1_000}` : "");
    const { status, tag, text } = await this.#request(url, headers, wait + this.#timing.answer);
    if (status === 304) return false;
    if (status === 200) return this.#take(text, /"(\w+)/.exec(tag)?.[1]);
    const problem = { title: "unexpected answer", ...parsed(text), status };
    throw new WatchError(problem, this.#retryAfter);
  }

  async #request(url, headers, limit) {
    const request = new AbortController();
    const abort = () => request.abort();
    const timer = setTimeout(abort, limit);
    this.#stop.signal.addEventListener("abort", abort, { signal: request.signal });
    try {
      const { fetch } = this.#options; // called by itself: the browser's takes no other `this`
      const response = await fetch(url, { headers, cache: "no-store", signal: request.signal });
      const seconds = parseFloat(response.headers.get("retry-after"));
      this.#retryAfter = seconds >= 0 ? Math.min(seconds * 1_000, 60_000) : undefined;
      return { status: response.status, tag: response.headers.get("etag"), text: await response.text() };
    } catch (error) {
      throw new WatchError({ title: "no answer", status: 0, detail: String(error?.message ?? error) });
    } finally {
      clearTimeout(timer);
      abort(); // it is over: this only lets go of the listener
    }
  }

  /** Tell a state unless it is known, or from before what is known; gives whether it was told. */
  #take(text, version) {
    const known = this.#stop.signal.aborted || text === this.#text;
    const state = known ? undefined : parsed(text);
    if (!state || isBehind(state, this.#state)) return false;
    this.#text = text;
    this.#version = version;
    this.#state = state;
    this.#tell("onState", state);
    if (ended(state)) {
      this.#tell("onEnd", state);
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
    this.#tell("onConnection", mode, problem);
  }

  /** Call back; what the callback throws is its own page's error, not the watch's. */
  #tell(name, ...values) {
    if (this.#stop.signal.aborted && name !== "onClose") return;
    try {
      this.#options[name]?.(...values);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** Between half and the whole of a time that doubles with each failure. */
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

  /** Wait until `begin` calls back or the watch is closed; then call what `begin` gave, to undo. */
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

/** Whether a state is of a lower attempt than another, or of an earlier stage of the same one. */
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
