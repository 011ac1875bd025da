/**
 * Immutable snapshots of watches, for frameworks: react.js, vue.js and svelte.js pass them on.
 *
 * A snapshot of one job is `{ state, error, connection }`; of many jobs, `{ states, missing, error,
 * connection }`. It is replaced, never changed.
 */
import { watchJob, watchJobs } from "./client.js";

/** Milliseconds between two snapshots of many jobs, so that a page is not drawn again for each event. */
const INTERVAL = 40;

/** Return the snapshot before the first answer. */
export function emptyJob(watched = true) {
  return { state: null, error: null, connection: watched ? "connecting" : "closed" };
}

export function emptyJobs(watched = true) {
  return { states: {}, missing: [], error: null, connection: watched ? "connecting" : "closed" };
}

/** Return a text that is the same for two watches of the same job, or null if no job is given. */
export function jobKey(options) {
  return given(options.id) ? JSON.stringify([String(options.id), options.after, ...common(options)]) : null;
}

/** Return a text that is the same as long as `setIds` suffices. */
export function jobsKey(options) {
  return JSON.stringify(common(options));
}

export function idsKey(options) {
  return JSON.stringify([...(options.ids ?? [])].map(String));
}

/** Follow a job; returns the function that ends it. `onSnapshot` gets each new snapshot. */
export function followJob(options, onSnapshot) {
  let snapshot = emptyJob(), stopped = false;
  const note = (name, partOf) => (...values) => {
    if (stopped) return;
    onSnapshot((snapshot = { ...snapshot, ...partOf(...values) }));
    options[name]?.(...values);
  };
  const watch = watchJob({
    ...options,
    onState: note("onState", (state) => ({ state })),
    onError: note("onError", (error) => ({ error })),
    onConnectionState: note("onConnectionState", (connection) => ({ connection })),
  });
  return () => {
    stopped = true;
    watch.close();
  };
}

/** Follow many jobs of one kind; returns `setIds(ids)` and `close()`. */
export function followJobs(options, onSnapshot) {
  let ids = [], watch = null, stopped = false, timer, published = 0;
  let { states, missing, error, connection } = emptyJobs(false);
  const publish = () => {
    clearTimeout(timer);
    timer = undefined;
    published = Date.now();
    if (!stopped) onSnapshot({ states, missing, error, connection });
  };
  const publishSoon = () => (timer ??= setTimeout(publish, Math.max(0, published + INTERVAL - Date.now())));
  const start = () => {
    let started;
    const note = (name, change) => (...values) => {
      if (watch !== started) return;
      change(...values);
      publishSoon();
      options[name]?.(...values);
    };
    const without = (id) => missing.filter((each) => each !== String(id));
    watch = started = watchJobs({
      ...options,
      ids,
      onState: note("onState", (state, { id }) => {
        states = { ...states, [id]: state };
        missing = without(id);
      }),
      onMissing: note("onMissing", ({ id }) => (missing = [...without(id), String(id)])),
      onError: note("onError", (problem) => (error = problem)),
      onConnectionState: note("onConnectionState", (state) => (connection = state)),
    });
    error = null;
    connection = started.connectionState;
  };
  const close = () => {
    const closing = watch;
    watch = null;
    closing?.close();
  };
  const setIds = (next) => {
    ids = [...next];
    const wanted = new Set(ids.map(String));
    states = Object.fromEntries(Object.entries(states).filter(([id]) => wanted.has(id)));
    missing = missing.filter((id) => wanted.has(id));
    if (!ids.length) {
      close();
      connection = "closed";
    } else if (watch && watch.connectionState !== "closed") {
      watch.setIds(ids);
    } else {
      start();
    }
    publish();
  };
  setIds(options.ids ?? []);
  return {
    setIds,
    close: () => {
      stopped = true;
      clearTimeout(timer);
      close();
    },
  };
}

/**
 * Return options that take functions and the token from `latest()` when they are needed, so that a
 * component may pass new functions each time it is rendered.
 */
export function withLatest(latest) {
  const options = { ...latest() };
  for (const [name, value] of Object.entries(options)) {
    if (typeof value === "function" && (name.startsWith("on") || name === "getToken")) {
      options[name] = (...values) => latest()[name]?.(...values);
    }
  }
  return options;
}

function common({ kind, baseUrl, tenant, token, stream }) {
  return [kind, baseUrl && String(baseUrl), given(tenant) ? String(tenant) : null, token, stream];
}

function given(value) {
  return value !== undefined && value !== null && value !== "";
}
