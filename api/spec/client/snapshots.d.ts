/** Types that the modules for React, Vue and Svelte share. */
import type { ConnectionState, IdsOptions, Kind, Problem, StateOf, WatchOptions } from "./client.js";

/** A job as it is known now. It is replaced, never changed. */
export interface JobSnapshot<K extends Kind = Kind> {
  /** Null until the first answer. */
  readonly state: StateOf<K> | null;
  /** Why the watch has ended before the job; null if it has not. */
  readonly error: Problem | null;
  /** "closed" if the job has ended, after an error, or if no id is given. */
  readonly connection: ConnectionState;
}

/** Many jobs as they are known now. It is replaced, never changed. */
export interface JobsSnapshot<K extends Kind = Kind> {
  /** The states by id; without ids that have none yet. */
  readonly states: Readonly<Record<string, StateOf<K> | undefined>>;
  /** The ids of jobs that do not exist, or not any longer. */
  readonly missing: readonly string[];
  readonly error: Problem | null;
  /** "closed" if all jobs have ended, after an error, or if no ids are given. */
  readonly connection: ConnectionState;
}

/** The options of `watchJob` without `signal`. Another kind, id, tenant, token or base URL starts afresh. */
export interface FollowJobOptions<K extends Kind = Kind> extends Omit<WatchOptions<K>, "id" | "signal"> {
  /** Null or undefined as long as there is no job to watch. */
  id: string | number | null | undefined;
}

/** The options of `watchJobs` for jobs of one kind, without `signal`. Other ids keep the connection. */
export type FollowJobsOptions<K extends Kind = Kind> = Omit<IdsOptions<K>, "signal" | "jobs">;

