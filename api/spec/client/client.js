/**
 * Watch background jobs from a browser, or from Node 20 or later. No dependencies; the types and
 * every option are in client.d.ts.
 *
 *     import { watchJob } from "/client.js";
 *
 *     const watch = watchJob({ kind: "video", id: 7, getToken, onState: draw });
 *     watch.close();
 *
 * A watch sends one plain request first. Then it uses the best *mode* that works through the proxies
 * in between: Server-Sent Events; else long polls, which the server holds until something changes;
 * else polls. A mode that fails twice in a row while plain requests succeed is replaced by the next
 * one, and is tried again later. While the server is unavailable, the watch retries.
 *
 * A *state* is the JSON of the progress answer; its *version* is that answer's entity tag without
 * quotes. The same state is not reported twice in a row, and an older state is not reported after a
 * newer one. The final state (done, failed, cancelled) is reported once and closes the watch. Times
 * are in milliseconds.
 *
 * `watchJob` watches one job (`JobWatch`), `watchJobs` many jobs of one tenant over one connection
 * (`JobsWatch`), `watchTenant` all of them (`TenantWatch`). What they share is in `Watch`.
 */

// Without a prototype, so that "constructor" is not found in them.
const PATHS = { __proto__: null, job: "/api/v1/jobs", video: "/media/videos" };
const RANKS = { __proto__: null, PENDING: 0, UPLOADED: 0, PROCESSING: 1, FAILED: 2, CANCELLED: 2, DONE: 3, READY: 3 };
const PHASES = { __proto__: null, PENDING: "queued", UPLOADED: "queued", PROCESSING: "processing", FAILED: "failed", CANCELLED: "cancelled", DONE: "done", READY: "done" };
const FIELDS = { __proto__: null, job: { plural: "jobs", id: "job_id", error: "error_message", progress: null }, video: { plural: "videos", id: "id", error: "error_reason", progress: "encoding_" } };
const PHASE_RANKS = { queued: 0, processing: 1, failed: 2, cancelled: 2, done: 3 };
const PASSING = [408, 425, 429]; // statuses after which to retry

const CALLED_AFTER_CLOSE = ["onConnectionState", "onClose"];

const TENANT_PATH = "/api/v1/events";
const QUERY_PATH = "/api/v1/progress/query";
const QUERY_IDS = 200; // the most ids in one query
const ON_ITS_WAY = 1_000; // how long an event may take longer than the answer to a request

const TIMING = {
  wait: 25_000, // how long the server may hold a long poll
  pace: 250, // between two long polls
  poll: 3_000, // between two polls, unless the server sends `Retry-After`
  answer: 15_000, // the time limit for an answer
  opening: 5_000, // the time limit for the first event of a live stream
  check: 5_000, // after this time without events, a plain request checks whether one was missed
  quiet: 30_000, // the longest time between such checks, which is doubled each time
  climb: 60_000, // after this time, a better mode is tried again; doubled each time
  backoff: 500, // before the first retry; doubled each time, up to `backoffMost`
  backoffMost: 15_000,
};

/** Return whether a state is final. Only a new attempt, or a late `done` after a failure, follows it. */
export function ended(state) {
  return rank(state) >= 2;
}

/** Return what a progress display shows of a state, in one form for all kinds. */
export function summaryOf(kind, state) {
  checkKind(kind);
  const { error, progress: prefix } = FIELDS[kind];
  const phase = PHASES[state.status] ?? "processing";
  const values = prefix === null ? (state.progress ?? {}) : state;
  const value = (name) => values[`${prefix ?? ""}${name}`] ?? null;
  const stepIndex = value("step_index"), stepTotal = value("step_total"), stepPercent = value("step_percent");
  const stepped = stepIndex && stepTotal ? (100 * (stepIndex - 1 + (stepPercent ?? 0) / 100)) / stepTotal : null;
  return {
    phase,
    percent: phase === "done" ? 100 : (value(prefix === null ? "percent" : "progress") ?? stepped),
    step: value("step_name_display") ?? value("step_name") ?? value("step"),
    stepIndex,
    stepTotal,
    stepPercent,
    remainingSeconds: value("remaining_seconds"),
    error: state[error] ?? null,
  };
}

/** Add a kind that an installed package adds to the server; that server's `/client.js` has it already. */
export function addKind(kind) {
  const { name, url, plural, idField = "id", errorField = "error_message", progressPrefix = null } = kind;
  PATHS[name] = url;
  FIELDS[name] = { plural, id: idField, error: errorField, progress: progressPrefix };
  for (const [phase, word] of Object.entries(kind.words ?? {})) {
    RANKS[word] = PHASE_RANKS[phase];
    PHASES[word] = phase;
  }
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
  return started(new JobWatch(options));
}

/** Watch many jobs over one connection until all have ended, as `watchJob` does one. */
export function watchJobs(options) {
  const watch = new JobsWatch(options);
  return Object.defineProperties(started(watch), {
    setIds: { enumerable: true, value: (ids) => watch.setJobs(jobsOf({ kind: options.kind, ids })) },
    setJobs: { enumerable: true, value: (jobs) => watch.setJobs(jobs) },
  });
}

/** Watch all jobs of a tenant until a permanent error occurs or `close()` is called. */
export function watchTenant(options) {
  return started(new TenantWatch(options));
}

/** Start a watch, and return what its caller gets. */
function started(watch) {
  watch.run();
  return {
    close: () => watch.close(),
    get connectionState() {
      return watch.connectionState;
    },
  };
}

/**
 * Watch a job as an async iterator, which skips to the latest state if its reader is slow. With `ids`
 * or `jobs`, watch many; each value is then `{ kind, id, state }`, and each job skips by itself.
 */
export async function* states(options) {
  const many = options.ids !== undefined || options.jobs !== undefined;
  const latest = new Map(); // by job, in the order in which they changed
  let problem, closed, wake;
  const also = (name, note) => (...values) => {
    note(...values);
    wake?.();
    options[name]?.(...values);
  };
  const watch = (many ? watchJobs : watchJob)({
    ...options,
    onState: also("onState", (state, job) => latest.set(job && keyOf(job), job ? { ...job, state } : state)),
    onError: also("onError", (given) => (problem = given)),
    onClose: also("onClose", () => (closed = true)),
  });
  try {
    while (latest.size || !closed) {
      const [first] = latest;
      latest.delete(first?.[0]);
      if (first) yield first[1];
      else await new Promise((resolve) => (wake = resolve));
    }
    if (problem) throw new WatchError(problem);
  } finally {
    watch.close();
  }
}

/** The modes, requests, tokens, retries and callbacks of all watches; subclasses define the requests. */
class Watch {
  #modes;
  #mode = 0; // the index in `modes`
  #failures = 0; // of the current mode, in a row
  #descents = 0;
  #climbAt = 0;
  #connection;
  #source;
  #token;
  #wake; // ends the current wait
  #stop = new AbortController();
  connectionState = "connecting";
  streamed = false; // whether the live stream has delivered an event
  resumeId; // the id after which the next live stream continues

  /** `fallbacks` are the modes below "sse". */
  constructor(options, fallbacks) {
    const { baseUrl = "", signal, waitForJob = 10_000 } = options;
    this.options = { ...options, fetch: options.fetch ?? globalThis.fetch, waitForJob };
    this.timing = { ...TIMING, ...options.timing };
    this.base = String(baseUrl).replace(/\/+$/, "");
    this.#source = sourceOf(options, !fallbacks.includes("long-poll"));
    this.#modes = [...(this.#source ? ["sse"] : []), ...fallbacks];
    if (!this.#modes.length) throw new TypeError("watchTenant works by a live stream only");
    signal?.addEventListener("abort", () => this.close(), { signal: this.#stop.signal });
  }

  get closed() {
    return this.#stop.signal.aborted;
  }

  close() {
    if (this.closed) return;
    this.#stop.abort();
    this.#setConnectionState("closed");
    this.call("onClose");
  }

  async run() {
    if (this.options.signal?.aborted) return this.close();
    try {
      await this.renewToken();
      await this.refresh();
      for (;;) await this.follow();
    } catch (error) {
      if (this.closed) return; // closed on purpose
      this.call("onError", problemOf(error));
      this.close();
    }
  }

  async follow() {
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
    const result = await this.#stream();
    if (!result) return; // woken
    const { delivered, silent } = result;
    const lasted = Date.now() - began >= this.timing.opening;
    await this.pause(this.#backoff(this.#failures));
    const answered = await this.refresh();
    this.#recordResult(!answered || (!silent && (delivered || lasted)), answered && silent);
  }

  async #longPoll() {
    const began = Date.now();
    this.#connected("long-poll");
    try {
      const news = await this.request(this.timing.wait);
      this.#recordResult(news || Date.now() - began >= Math.min(1_000, this.timing.wait / 2));
      await this.pause(this.timing.pace);
    } catch (error) {
      this.#stop.signal.throwIfAborted();
      await this.pause(this.#backoff(this.#failures));
      const answered = await this.refresh();
      this.#recordResult(!answered, problemOf(error).status === 400);
    }
  }

  async #poll() {
    this.#connected("polling");
    await this.pause((this.retryAfter ?? this.timing.poll) * (0.9 + Math.random() / 5));
    await this.refresh();
  }

  /** Called when a live stream is open. */
  async onOpen() {}

  /** Record whether the mode worked; leave it if it is `useless` or has failed twice in a row. */
  #recordResult(worked, useless = false) {
    this.#failures = worked ? 0 : this.#failures + 1;
    if (!useless && this.#failures < 2) return;
    if (this.#mode + 1 === this.#modes.length) {
      const detail = "The live stream fails, although the server answers.";
      return this.#connected("offline", { title: "no live stream", status: 0, detail });
    }
    this.#mode += 1;
    this.#failures = 0;
    this.streamed = false;
    this.#climbAt = Date.now() + this.timing.climb * 2 ** Math.min(this.#descents++, 4);
  }

  /**
   * Read one live stream until it ends. Returns whether it delivered an event, and whether it is
   * silent although a state has changed, which means that a proxy buffers it; nothing if woken.
   *
   * The first stream of one job requests the current state, although it is known, to prove that
   * states arrive. Later ones resume. The reconnecting of EventSource is not used: it stops at a
   * status other than 200, and it reconnects with the old token.
   */
  #stream() {
    return this.until((over) => {
      let delivered = false, timer, checks = 0;
      let proven = this.streamed || !this.provesStream;
      const source = this.#open();
      const isAlive = () => {
        this.#connected("sse");
        clearTimeout(timer);
        const { check: first, quiet, opening } = this.timing;
        timer = setTimeout(check, this.streamed || checks ? Math.min(first * 2 ** checks, quiet) : opening);
      };
      const check = async () => {
        const news = await this.request().catch(() => undefined);
        checks += 1;
        if (news === undefined || source.readyState === 2) return over({ delivered, silent: news === true });
        if (!news) return isAlive();
        clearTimeout(timer); // the event with the news may be on its way, and then the stream is alive
        timer = setTimeout(() => over({ delivered, silent: true }), ON_ITS_WAY);
      };
      source.addEventListener("open", () => {
        if (proven) isAlive();
        this.onOpen().catch(() => over({ delivered, silent: false }));
      });
      source.addEventListener("state", (event) => {
        proven = delivered = this.streamed = true;
        checks = 0;
        isAlive();
        this.onEvent(event.data, event.lastEventId);
      });
      source.addEventListener("error", () => over({ delivered, silent: false }));
      timer = setTimeout(() => over({ delivered, silent: true }), this.timing.opening);
      return () => {
        clearTimeout(timer);
        source.close();
      };
    });
  }

  #open() {
    const known = this.streamed ? this.resumeId : undefined;
    if (this.#source === FetchSource) {
      const headers = { accept: "text/event-stream", ...this.#credentials() };
      if (known) headers["last-event-id"] = known;
      return new FetchSource(this.streamUrl, { fetch: this.options.fetch, headers });
    }
    const query = { access_token: this.#token, tenant: this.options.tenant, last_event_id: known };
    const given = Object.entries(query).filter(([, value]) => isGiven(value));
    return new this.#source(`${this.streamUrl}?${new URLSearchParams(given)}`);
  }

  #credentials() {
    const headers = {};
    if (this.#token) headers.authorization = `Bearer ${this.#token}`;
    if (isGiven(this.options.tenant)) headers["x-tenant-id"] = String(this.options.tenant);
    return headers;
  }

  /**
   * Send plain requests until one is answered; returns whether the first one was.
   *
   * Throws a WatchError if retrying cannot help: credentials that stay invalid with a new token, a
   * job that does not appear, or any other refused request.
   */
  async refresh() {
    let renewed = false, missingSince, hold = 0;
    for (let tries = 0; ; tries++) {
      try {
        await this.request(hold);
        return tries === 0;
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        const problem = problemOf(error), { status } = problem;
        hold = 0; // in case a proxy does not allow long polls, the next request is a plain one
        if (status === 401 && this.options.getToken && !renewed) {
          renewed = true;
          await this.renewToken();
        } else if (status === 404 && Date.now() - (missingSince ??= Date.now()) < this.options.waitForJob) {
          this.#setConnectionState("open"); // the server answers
          await this.pause(Math.min(1_000, this.#backoff(tries)));
          // The server answers as soon as the job exists.
          const left = this.options.waitForJob - (Date.now() - missingSince);
          hold = Math.min(this.timing.wait, Math.max(left, 0));
        } else if (status >= 400 && status < 500 && !PASSING.includes(status)) {
          throw error;
        } else {
          this.#connected("offline", problem);
          await this.pause(Math.max(error.retryAfter ?? 0, this.#backoff(tries)));
        }
      }
    }
  }

  /** Send a request; returns its answer, or throws a WatchError if the status is not an accepted one. */
  async send(url, { accepted = [200], limit = this.timing.answer, ...init }) {
    const request = new AbortController();
    const abort = () => request.abort();
    const timer = setTimeout(abort, limit);
    this.#stop.signal.addEventListener("abort", abort, { signal: request.signal });
    try {
      const { fetch } = this.options; // called without an object: the browser's requires it
      const headers = { accept: "application/json", ...init.headers, ...this.#credentials() };
      const response = await fetch(url, { cache: "no-store", ...init, headers, signal: request.signal });
      const seconds = parseFloat(response.headers.get("retry-after"));
      this.retryAfter = seconds >= 0 ? Math.min(seconds * 1_000, 60_000) : undefined;
      const answer = { status: response.status, headers: response.headers, text: await response.text() };
      if (!accepted.includes(answer.status)) {
        const problem = { title: "unexpected answer", ...parsed(answer.text), status: answer.status };
        throw new WatchError(problem, this.retryAfter);
      }
      this.#setConnectionState("open");
      return answer;
    } catch (error) {
      if (error instanceof WatchError) throw error;
      throw new WatchError({ title: "no answer", status: 0, detail: String(error?.message ?? error) });
    } finally {
      clearTimeout(timer);
      abort(); // the request has ended; this removes the listener
    }
  }

  async renewToken() {
    const { getToken, token } = this.options;
    try {
      this.#token = getToken ? await getToken() : token;
    } catch (error) {
      throw new WatchError({ title: "no token", status: 401, detail: String(error?.message ?? error) });
    }
    this.#stop.signal.throwIfAborted();
  }

  #connected(mode, problem) {
    this.#setConnectionState(mode === "offline" ? "retrying" : "open", problem);
    if (this.#connection === mode || this.closed) return;
    this.#connection = mode;
    this.call("onConnection", mode, problem);
  }

  #setConnectionState(state, problem) {
    if (this.connectionState === state || this.connectionState === "closed") return;
    this.connectionState = state;
    this.call("onConnectionState", state, problem);
  }

  /** Call a callback; an error in it is reported by the page and does not end the watch. */
  call(name, ...values) {
    if (this.closed && !CALLED_AFTER_CLOSE.includes(name)) return;
    try {
      this.options[name]?.(...values);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** Return a random time from half to all of a time that doubles with each failure. */
  #backoff(failures) {
    const { backoff, backoffMost } = this.timing;
    return Math.min(backoffMost, backoff * 2 ** Math.min(failures, 16)) * (0.5 + Math.random() / 2);
  }

  pause(time) {
    return this.until((over) => {
      const timer = setTimeout(over, time);
      return () => clearTimeout(timer);
    });
  }

  /** End the current wait, if there is one. */
  wake() {
    this.#wake?.();
  }

  /** Wait until `begin` calls its callback or the watch is woken or closed; then call what it returned. */
  async until(begin) {
    const { signal } = this.#stop;
    signal.throwIfAborted();
    let undo, stopped;
    try {
      return await new Promise((resolve, reject) => {
        stopped = () => reject(signal.reason);
        signal.addEventListener("abort", stopped);
        this.#wake = resolve;
        undo = begin(resolve);
      });
    } finally {
      this.#wake = undefined;
      signal.removeEventListener("abort", stopped);
      undo?.();
    }
  }
}

/** Watches one job. */
class JobWatch extends Watch {
  provesStream = true;
  #path;
  #text;
  #version;
  #state;
  #after;
  #afterUntil;

  constructor(options) {
    checkJob(options);
    super(options, ["long-poll", "polling"]);
    this.#path = `${this.base}${PATHS[options.kind]}/${encodeURIComponent(options.id)}/progress/`;
    this.#after = options.after;
  }

  get streamUrl() {
    return `${this.#path}events`;
  }

  /** Send one request, to be held for `wait`; returns whether it brought a new state. */
  async request(wait = 0) {
    await this.#settleAfter();
    const { status, headers, text } = await this.#ask(wait ? `?wait=${wait / 1_000}` : "", wait);
    return status === 200 && this.#accept(text, /"(\w+)/.exec(headers.get("etag"))?.[1]);
  }

  onEvent(data, version) {
    this.#accept(data, version);
  }

  /** Wait until the answers reflect the entry of `options.after`, or its time limit has passed. */
  async #settleAfter() {
    const { afterTimeout = 10_000 } = this.options;
    while (isGiven(this.#after)) {
      this.#afterUntil ??= Date.now() + afterTimeout;
      // Held for two seconds by the server, which every proxy allows.
      const { headers } = await this.#ask(`?after=${encodeURIComponent(this.#after)}`, 2_000, [404]);
      const reflected = headers.get("jobtrail-after") === "reflected";
      if (reflected || Date.now() >= this.#afterUntil) {
        this.#after = undefined;
        this.call("onAfter", reflected ? "reflected" : "pending");
      } else {
        await this.pause(this.timing.pace);
      }
    }
  }

  #ask(query, wait, alsoAccepted = []) {
    const headers = this.#version ? { "if-none-match": `"${this.#version}"` } : {};
    const accepted = [200, 304, ...alsoAccepted];
    return this.send(`${this.#path}${query}`, { headers, accepted, limit: wait + this.timing.answer });
  }

  /** Report a state unless it is known or older than the known one; returns whether it did. */
  #accept(text, version) {
    const known = this.closed || text === this.#text;
    const state = known ? undefined : parsed(text);
    if (!state || isBehind(state, this.#state)) return false;
    this.#text = text;
    this.#version = this.resumeId = version;
    this.#state = state;
    this.call("onState", state);
    if (ended(state)) {
      this.call("onEnd", state);
      this.close();
    }
    return true;
  }
}

/** Watches many jobs of a tenant, by the tenant's live stream or by queries. */
class JobsWatch extends Watch {
  #jobs = new Map(); // by key: { job, state, text, eventCount, absentSince, missing }
  #eventCount = 0;
  #added = false; // whether there are jobs that were not queried yet
  #timer;

  constructor(options) {
    super(options, ["polling"]);
    this.#replace(jobsOf(options));
  }

  get streamUrl() {
    return `${this.base}${TENANT_PATH}`;
  }

  /** Watch these jobs instead. States of jobs that are watched already are not reported again. */
  setJobs(jobs) {
    const added = this.#replace(jobs);
    if (this.closed) return;
    if (!added) return this.#closeIfEnded();
    this.#added = true;
    this.wake();
  }

  close() {
    clearTimeout(this.#timer);
    super.close();
  }

  async follow() {
    if (!this.#added) return super.follow();
    this.#added = false;
    await this.renewToken(); // a token may list the ids that it permits
    await this.refresh();
  }

  /** Query the states of all jobs that have not ended; returns whether there was a new one. */
  async request() {
    const open = [...this.#jobs.values()].filter((each) => !each.state || !ended(each.state));
    let news = false;
    for (let first = 0; first === 0 || first < open.length; first += QUERY_IDS) {
      news = (await this.#query(open.slice(first, first + QUERY_IDS))) || news;
    }
    this.#closeIfEnded();
    this.#queryAbsentLater();
    return news;
  }

  /** Unless it resumes, the stream begins with recent jobs only: changes since the last query may be left out. */
  async onOpen() {
    if (!this.streamed) await this.request();
  }

  onEvent(data, id) {
    this.resumeId = id;
    const { kind, ...state } = parsed(data) ?? {};
    const each = this.#jobs.get(keyOf({ kind, id: state[FIELDS[kind]?.id] }));
    if (!each) return;
    each.eventCount = ++this.#eventCount;
    this.#accept(each, state);
    this.#closeIfEnded();
  }

  async #query(part) {
    const ids = {}, before = this.#eventCount;
    for (const { job } of part) (ids[FIELDS[job.kind].plural] ??= []).push(String(job.id));
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify(ids);
    const { text } = await this.send(`${this.base}${QUERY_PATH}`, { method: "POST", headers, body });
    const answer = parsed(text) ?? {};
    let news = false;
    for (const each of part) {
      if (each.eventCount > before) continue; // its event is newer than the answer
      const state = answer[FIELDS[each.job.kind].plural]?.[each.job.id];
      if (state) news = this.#accept(each, state) || news;
      else this.#recordAbsence(each);
    }
    return news;
  }

  /** Report a state unless it is known or older than the known one; returns whether it did. */
  #accept(each, state) {
    const text = JSON.stringify(state);
    if (this.closed || text === each.text || isBehind(state, each.state)) return false;
    Object.assign(each, { text, state });
    this.call("onState", state, each.job);
    if (ended(state)) this.call("onEnd", state, each.job);
    return true;
  }

  /** Report a job that does not appear within `waitForJob`; the watch is not kept open for it. */
  #recordAbsence(each) {
    each.absentSince ??= Date.now();
    if (each.state || each.missing || Date.now() - each.absentSince < this.options.waitForJob) return;
    each.missing = true;
    this.call("onMissing", each.job);
  }

  #queryAbsentLater() {
    clearTimeout(this.#timer);
    if (this.closed || ![...this.#jobs.values()].some((each) => !each.state && !each.missing)) return;
    const again = () => this.request().catch(() => this.#queryAbsentLater());
    this.#timer = setTimeout(again, Math.max(this.options.waitForJob, this.timing.pace) + 1);
  }

  #closeIfEnded() {
    const isOver = (each) => (each.state ? ended(each.state) : each.missing);
    if (!this.#added && [...this.#jobs.values()].every(isOver)) this.close();
  }

  /** Replace the watched jobs; returns whether one of them is new. */
  #replace(jobs) {
    jobs.forEach(checkJob);
    const known = this.#jobs;
    const watched = (job) => known.get(keyOf(job)) ?? { job, eventCount: 0 };
    this.#jobs = new Map(jobs.map((job) => [keyOf(job), watched(job)]));
    return [...this.#jobs.keys()].some((key) => !known.has(key));
  }
}

/** Watches all jobs of a tenant. */
class TenantWatch extends Watch {
  constructor(options) {
    super(options, []);
  }

  get streamUrl() {
    return `${this.base}${TENANT_PATH}`;
  }

  /** Send a query without ids, which shows whether the server answers and accepts the token. */
  async request() {
    const headers = { "content-type": "application/json" };
    await this.send(`${this.base}${QUERY_PATH}`, { method: "POST", headers, body: "{}" });
    return false;
  }

  onEvent(data, id) {
    this.resumeId = id;
    const { kind, ...state } = parsed(data) ?? {};
    if (kind in FIELDS) this.call("onState", state, { kind, id: state[FIELDS[kind].id] });
  }
}

/** What the watches use of EventSource, over `fetch`, which can send headers. It does not reconnect. */
class FetchSource extends EventTarget {
  readyState = 0;
  #stop = new AbortController();

  constructor(url, { fetch, headers }) {
    super();
    this.#read(url, fetch, headers);
  }

  close() {
    this.readyState = 2;
    this.#stop.abort();
  }

  async #read(url, fetch, headers) {
    try {
      const response = await fetch(url, { headers, cache: "no-store", signal: this.#stop.signal });
      if (response.status === 200 && this.readyState === 0) {
        this.readyState = 1;
        this.dispatchEvent(new Event("open"));
        for await (const event of eventsOf(response.body)) {
          if (this.readyState === 2) break;
          this.dispatchEvent(event);
        }
      }
    } catch {
      // As with EventSource, a plain request finds out why.
    }
    if (this.readyState === 2) return;
    this.close();
    this.dispatchEvent(new Event("error"));
  }
}

/** Parse an event stream (HTML standard, section 9.2) to the events that EventSource would dispatch. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", type = "", data = [], lastEventId = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    // Whether a carriage return at the end is a line end of its own is known with the next character.
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [, name, text] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line);
      if (name === "data") data.push(text);
      else if (name === "event") type = text;
      else if (name === "id") lastEventId = text;
      if (line !== "") continue;
      if (data.length) yield Object.assign(new Event(type || "message"), { data: data.join("\n"), lastEventId });
      type = "";
      data = [];
    }
  }
}

/** Return the class that reads live streams; null for none. */
function sourceOf({ stream = "eventsource", EventSource = globalThis.EventSource }, orFetch) {
  if (stream === "fetch") return FetchSource;
  if (stream === "none" || EventSource === null) return null;
  if (stream !== "eventsource") throw new TypeError(`stream is "eventsource", "fetch" or "none", not ${stream}`);
  return EventSource ?? (orFetch ? FetchSource : null);
}

function jobsOf({ kind, ids, jobs = ids?.map((id) => ({ kind, id })) }) {
  if (!jobs) throw new TypeError("ids is missing");
  return jobs;
}

function checkJob({ kind, id }) {
  checkKind(kind);
  if (!isGiven(id) || id === "") throw new TypeError("id is missing");
}

function checkKind(kind) {
  if (!(kind in PATHS)) throw new TypeError(`kind is "${Object.keys(PATHS).join('" or "')}", not ${kind}`);
}

function keyOf({ kind, id }) {
  return `${kind}/${id}`;
}

function isGiven(value) {
  return value !== undefined && value !== null;
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
