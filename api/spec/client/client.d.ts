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
  /** Only while it is processing. */
  progress: JobProgress | null;
  /** Once it ended. */
  error_message?: string | null;
  /** Once it is done. */
  result?: unknown;
  /** The result was too large to be served here; the job's durable row has it. */
  result_omitted?: boolean;
  result_bytes?: number;
  /** Counts the runs of the job, from 1. */
  attempt?: number;
  /** RFC 3339. */
  updated_at?: string;
}

/** What the worker reported last, with the keys of its own beside these. */
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
  /** The worker's own estimate. */
  remaining_seconds?: number | null;
  [own: string]: unknown;
}

/** The progress answer of a video: `GET /media/videos/{id}/progress/`. */
export interface VideoState {
  /** A number where the id is one. */
  id: number | string;
  status: "UPLOADED" | "PROCESSING" | "READY" | "FAILED" | "CANCELLED";
  /** 0 to 100; the progress fields are null while it is not processing. */
  encoding_progress: number | null;
  encoding_remaining_seconds: number | null;
  /** Counts from 1: the steps before it are over. */
  encoding_step_index: number | null;
  encoding_step_total: number | null;
  encoding_step_name: string | null;
  encoding_step_percent: number | null;
  /** Once it ended. */
  hls_path?: string | null;
  /** Seconds, once it ended. */
  duration?: number | null;
  /** Once it failed or was cancelled. */
  error_reason?: string | null;
  result_omitted?: boolean;
  result_bytes?: number;
  attempt?: number;
  updated_at?: string;
}

export type StateOf<K extends Kind> = StateByKind[K];

/** RFC 9457. `status` is 0 where no server answered. */
export interface Problem {
  type?: string;
  title: string;
  status: number;
  detail?: string;
  [member: string]: unknown;
}

/**
 * How a watch is fed at present. "offline": the server does not answer, or says that it cannot; it
 * is asked again and again.
 */
export type Connection = "sse" | "long-poll" | "polling" | "offline";

export interface WatchOptions<K extends Kind = Kind> {
  kind: K;
  id: string | number;
  /** Where the API is, such as `https://example.com/jobtrail`; the page's own origin by default. */
  baseUrl?: string | URL;
  /** A JSON Web Token that names the tenant. */
  token?: string;
  /** Gives the token instead: asked at the start, and once more whenever one is refused. */
  getToken?: () => string | Promise<string>;
  /** Names the tenant where the API runs in dev mode. */
  tenant?: string | number;
  /** Milliseconds for which a job that is not there is asked for: 10,000 by default. */
  waitForJob?: number;
  /** Closes the watch. */
  signal?: AbortSignal;
  /** Each state that is seen: the present one first, the end last. */
  onState?: (state: StateOf<K>) => void;
  /** The job ended; `onState` was called with the same. */
  onEnd?: (state: StateOf<K>) => void;
  /** The watch cannot go on: a refused token, a job that does not appear, a refused request. */
  onError?: (problem: Problem) => void;
  /** The mode changed; `problem` says why it is "offline". */
  onConnection?: (connection: Connection, problem?: Problem) => void;
  /** Nothing more is called, whatever the reason. */
  onClose?: () => void;
  /** An EventSource where the environment has none, as Node (npm `eventsource`); null: no streams. */
  EventSource?: (new (url: string) => EventSourceLike) | null;
  /** Instead of the environment's. */
  fetch?: typeof globalThis.fetch;
  /** Milliseconds; what they mean, and the defaults, are at the head of client.js. */
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

/** What is used of an EventSource. */
export interface EventSourceLike {
  readonly readyState: number;
  addEventListener(type: string, listener: (event: any) => void): void;
  close(): void;
}

export interface Watch {
  /** Stops watching; nothing is called or asked afterwards. Safe to call again. */
  close(): void;
}

/** Why a watch cannot go on, as `states` throws it. */
export class WatchError extends Error {
  constructor(problem: Problem, retryAfter?: number);
  readonly problem: Problem;
  /** Milliseconds for which the server asked to be left alone. */
  readonly retryAfter: number;
}

/** Watch a job until its end, an error that waiting does not mend, or `close()`. */
export function watchJob<K extends Kind>(options: WatchOptions<K>): Watch;

/**
 * The same as an async iterator: `for await (const state of states({ kind: "job", id }))`. It ends
 * after the job's end and throws a WatchError; where its reader is slow, it skips to the latest.
 */
export function states<K extends Kind>(
  options: WatchOptions<K>,
): AsyncGenerator<StateOf<K>, void, undefined>;

/** Whether a state is an end. Only a new attempt, or a late `done` after a failure, follows one. */
export function ended(state: StateOf<Kind>): boolean;
