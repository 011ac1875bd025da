/** Types of client.js: watch background jobs from a browser, or from Node 20 or later. */

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
  /** A number if the id is a decimal number without leading zeros. */
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

/**
 * Whether the server answers. A watch begins with "connecting"; "retrying" is "offline" until an
 * answer arrives.
 */
export type ConnectionState = "connecting" | "open" | "retrying" | "closed";

/**
 * How updates arrive. "eventsource" (the default): by EventSource, which has the token in its URL;
 * "fetch": by streaming the answer to `fetch`, which has it in the header `Authorization`; "none": by
 * long polls or polls only.
 */
export type StreamSource = "eventsource" | "fetch" | "none";

/** A job of one kind. */
export interface JobRef<K extends Kind = Kind> {
  kind: K;
  id: string | number;
}

/** The options of all watches. */
export interface CommonOptions {
  /** The URL of the API, such as `https://example.com/jobtrail`; by default the page's origin. */
  baseUrl?: string | URL;
  /** A JSON Web Token with the tenant. */
  token?: string;
  /** Returns the token instead; called at the start and whenever a token is refused. */
  getToken?: () => string | Promise<string>;
  /** The tenant, for an API in dev mode. */
  tenant?: string | number;
  stream?: StreamSource;
  /** Milliseconds to wait for a job that does not exist; 10,000 by default. */
  waitForJob?: number;
  /** Closes the watch. */
  signal?: AbortSignal;
  /** Called before the watch closes because of an error that retrying cannot fix. */
  onError?: (problem: Problem) => void;
  /** Called when the mode changes; `problem` is the reason for "offline". */
  onConnection?: (connection: Connection, problem?: Problem) => void;
  /** Called when the state of the connection changes; `problem` is the reason for "retrying". */
  onConnectionState?: (state: ConnectionState, problem?: Problem) => void;
  /** Called last, when the watch is closed for any reason. */
  onClose?: () => void;
  /**
   * An EventSource for environments without one, such as Node (npm `eventsource`); null for none.
   * Without one, `watchJob` uses long polls unless `stream` is "fetch"; the other watches use `fetch`.
   */
  EventSource?: (new (url: string) => EventSourceLike) | null;
  /** Replaces the environment's `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** Times in milliseconds; client.js describes them and their defaults. */
  timing?: Partial<Timing>;
}

export interface WatchOptions<K extends Kind = Kind> extends CommonOptions {
  kind: K;
  id: string | number;
  /**
   * The id of an entry that an append returned. Nothing is reported until the state reflects it, or
   * until `afterTimeout` has passed.
   */
  after?: string | null;
  /** Milliseconds; 10,000 by default. */
  afterTimeout?: number;
  /** Called once, before the first state: whether the state reflects the entry of `after`. */
  onAfter?: (result: "reflected" | "pending") => void;
  /** Called with each state: the current one first, the final one last. */
  onState?: (state: StateOf<K>) => void;
  /** Called with the final state, after `onState`. */
  onEnd?: (state: StateOf<K>) => void;
}

interface JobsCallbacks<K extends Kind> extends CommonOptions {
  /** Called with each state of each job, the current ones first. */
  onState?: (state: StateOf<K>, job: JobRef<K>) => void;
  /** Called with the final state of each job, after `onState`. */
  onEnd?: (state: StateOf<K>, job: JobRef<K>) => void;
  /**
   * Called for each job that does not exist after `waitForJob`. It is reported nevertheless if it
   * appears while the watch is open for other jobs.
   */
  onMissing?: (job: JobRef<K>) => void;
}

/** The jobs of one kind, by their ids. */
export interface IdsOptions<K extends Kind = Kind> extends JobsCallbacks<K> {
  kind: K;
  ids: readonly (string | number)[];
  jobs?: undefined;
}

/** Jobs of several kinds. */
export interface JobRefsOptions<K extends Kind = Kind> extends JobsCallbacks<K> {
  jobs: readonly JobRef<K>[];
  kind?: undefined;
  ids?: undefined;
}

export type WatchJobsOptions<K extends Kind = Kind> = IdsOptions<K> | JobRefsOptions<K>;

/** The jobs that the token permits. */
export interface WatchTenantOptions extends Omit<CommonOptions, "waitForJob"> {
  stream?: "eventsource" | "fetch";
  /** Called with the states of recent jobs, then with each change. */
  onState?: (state: StateOf<Kind>, job: JobRef) => void;
}

export interface Timing {
  wait: number;
  pace: number;
  poll: number;
  answer: number;
  opening: number;
  check: number;
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
  /**
   * Closes the watch: no further requests or callbacks, except `onConnectionState` ("closed") and
   * `onClose`. May be called again.
   */
  close(): void;
  readonly connectionState: ConnectionState;
}

export interface JobsWatch<K extends Kind = Kind> extends Watch {
  /**
   * Watches these ids, of the same kind, instead. The connection is kept, and jobs that were watched
   * already are not reported again. Has no effect on a closed watch.
   */
  setIds(ids: readonly (string | number)[]): void;
  /** Watches these jobs instead, in the same way. */
  setJobs(jobs: readonly JobRef<K>[]): void;
}

/** What a progress display shows of a state, in one form for all kinds. */
export interface Summary {
  phase: Phase;
  /** 0 to 100; from the steps if the worker reports no percent, null if unknown. */
  percent: number | null;
  /** The name of the current step. */
  step: string | null;
  /** Counts from 1. */
  stepIndex: number | null;
  stepTotal: number | null;
  stepPercent: number | null;
  remainingSeconds: number | null;
  /** The text of a failure or cancellation. */
  error: string | null;
}

export type Phase = "queued" | "processing" | "done" | "failed" | "cancelled";

/** A kind as its Python package describes it (docs: "Add a kind"). */
export interface KindDescription {
  name: string;
  /** The path of its endpoints, without a slash at the end. */
  url: string;
  /** Its name in queries. */
  plural: string;
  /** The field of the progress answer with the id; "id" by default. */
  idField?: string;
  /** The field with the text of a failure; "error_message" by default. */
  errorField?: string;
  /** The prefix of the progress fields; null, the default, if they are in the object `progress`. */
  progressPrefix?: string | null;
  /** The status word of each phase; by default those of `job`. */
  words?: Record<Phase, string>;
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

/** Watch many jobs over one connection until all have ended, as `watchJob` does one. */
export function watchJobs<K extends Kind>(options: WatchJobsOptions<K>): JobsWatch<K>;

/** Watch all jobs of a tenant until a permanent error occurs or `close()` is called. */
export function watchTenant(options: WatchTenantOptions): Watch;

/** Return what a progress display shows of a state, in one form for all kinds. */
export function summaryOf<K extends Kind>(kind: K, state: StateOf<K>): Summary;

/**
 * Add a kind that an installed package adds to the server. The `/client.js` of that server has it
 * already. In TypeScript, also add its state to the interface `StateByKind`.
 */
export function addKind(kind: KindDescription): void;

/**
 * Watch a job as an async iterator: `for await (const state of states({ kind: "job", id }))`. It ends
 * after the final state, or throws a WatchError. If its reader is slow, it skips to the latest state.
 */
export function states<K extends Kind>(
  options: WatchOptions<K>,
): AsyncGenerator<StateOf<K>, void, undefined>;

/** Watch many jobs as an async iterator. If its reader is slow, each job skips to its latest state. */
export function states<K extends Kind>(
  options: WatchJobsOptions<K>,
): AsyncGenerator<JobRef<K> & { state: StateOf<K> }, void, undefined>;

/** Return whether a state is final. Only a new attempt, or a late `done` after a failure, follows it. */
export function ended(state: StateOf<Kind>): boolean;
