/** Types of client.js: watch a background job from a browser, or from Node 20 or later. */

/** The progress answer of each kind. */
export interface StateByKind {
  job: JobState;
  video: VideoState;
}

export type Kind = keyof StateByKind;

/** The progress answer of a job: `GET /api/v1/jobs/{id}/progress/`. */
export interface JobState {
  job_id: string;
  job_type: string | null;
  status: "PENDING" | "PROCESSING" | "DONE" | "FAILED" | "CANCELLED";
  /** Null unless the job is processing. */
  progress: JobProgress | null;
  /** Present once the job has ended. */
  error_message?: string | null;
  /** Present once the job is done. */
  result?: unknown;
  /** The result is too large for this answer; retrieve the stored job to get it. */
  result_omitted?: boolean;
  result_bytes?: number;
  /** The number of the attempt, from 1. */
  attempt?: number;
  /** RFC 3339. */
  updated_at?: string;
}

/** The last progress that the worker reported, and the fields of its `extra`. */
export interface JobProgress {
  step?: string | null;
  /** 0 to 100. */
  percent?: number | null;
  /** Counts from 1. */
  step_index?: number | null;
  step_total?: number | null;
  step_name?: string | null;
  step_name_display?: string | null;
  step_percent?: number | null;
  /** The worker's estimate. */
  remaining_seconds?: number | null;
  [extra: string]: unknown;
}

/** The progress answer of a video: `GET /media/videos/{id}/progress/`. */
export interface VideoState {
  /** A number if the id is numeric. */
  id: number | string;
  status: "UPLOADED" | "PROCESSING" | "READY" | "FAILED" | "CANCELLED";
  /** 0 to 100. All progress fields are null unless the video is processing. */
  encoding_progress: number | null;
  encoding_remaining_seconds: number | null;
  /** Counts from 1. */
  encoding_step_index: number | null;
  encoding_step_total: number | null;
  encoding_step_name: string | null;
  encoding_step_percent: number | null;
  /** Present once the video has ended. */
  hls_path?: string | null;
  /** In seconds; present once the video has ended. */
  duration?: number | null;
  /** Present once the video has failed or was cancelled. */
  error_reason?: string | null;
  result_omitted?: boolean;
  result_bytes?: number;
  attempt?: number;
  updated_at?: string;
}

export type StateOf<K extends Kind> = StateByKind[K];

/** An error (RFC 9457). `status` is 0 if there was no answer. */
export interface Problem {
  type?: string;
  title: string;
  status: number;
  detail?: string;
  [member: string]: unknown;
}

/**
 * The current mode of a watch. "offline": the server does not answer or is unavailable, and the watch
 * retries.
 */
export type Connection = "sse" | "long-poll" | "polling" | "offline";

export interface WatchOptions<K extends Kind = Kind> {
  kind: K;
  id: string | number;
  /** The URL of the API, such as `https://example.com/jobtrail`; by default the page's origin. */
  baseUrl?: string | URL;
  /** A JSON Web Token with the tenant. */
  token?: string;
  /** Returns the token instead; called at the start and whenever a token is refused. */
  getToken?: () => string | Promise<string>;
  /** The tenant, for an API in dev mode. */
  tenant?: string | number;
  /** Milliseconds to wait for a job that does not exist; 10,000 by default. */
  waitForJob?: number;
  /** Closes the watch. */
  signal?: AbortSignal;
  /** Called with each state: the current one first, the final one last. */
  onState?: (state: StateOf<K>) => void;
  /** Called with the final state, after `onState`. */
  onEnd?: (state: StateOf<K>) => void;
  /** Called before the watch closes because of an error that retrying cannot fix. */
  onError?: (problem: Problem) => void;
  /** Called when the mode changes; `problem` is the reason for "offline". */
  onConnection?: (connection: Connection, problem?: Problem) => void;
  /** Called last, when the watch is closed for any reason. */
  onClose?: () => void;
  /** An EventSource for environments without one, such as Node (npm `eventsource`); null for none. */
  EventSource?: (new (url: string) => EventSourceLike) | null;
  /** Replaces the environment's `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** Times in milliseconds; client.js describes them and their defaults. */
  timing?: Partial<Timing>;
}

export interface Timing {
  wait: number;
  pace: number;
  poll: number;
  answer: number;
  opening: number;
  quiet: number;
  climb: number;
  backoff: number;
  backoffMost: number;
}

/** The members of EventSource that are used. */
export interface EventSourceLike {
  readonly readyState: number;
  addEventListener(type: string, listener: (event: any) => void): void;
  close(): void;
}

export interface Watch {
  /** Closes the watch: no further requests or callbacks, except `onClose`. May be called again. */
  close(): void;
}

/** The error that `states` throws. */
export class WatchError extends Error {
  constructor(problem: Problem, retryAfter?: number);
  readonly problem: Problem;
  /** Milliseconds to wait before the next request, as the server asked. */
  readonly retryAfter: number;
}

/** Watch a job until it has ended, a permanent error occurs, or `close()` is called. */
export function watchJob<K extends Kind>(options: WatchOptions<K>): Watch;

/**
 * Watch a job as an async iterator: `for await (const state of states({ kind: "job", id }))`. It ends
 * after the final state, or throws a WatchError. If its reader is slow, it skips to the latest state.
 */
export function states<K extends Kind>(
  options: WatchOptions<K>,
): AsyncGenerator<StateOf<K>, void, undefined>;

/** Return whether a state is final. Only a new attempt, or a late `done` after a failure, follows it. */
export function ended(state: StateOf<Kind>): boolean;
