/** Types of svelte.js: Svelte stores (Svelte 4 or later). */
import type { Readable } from "svelte/store";
import type { Kind } from "./client.js";
import type { FollowJobOptions, FollowJobsOptions, JobSnapshot, JobsSnapshot } from "./snapshots.js";

export type { FollowJobOptions, FollowJobsOptions, JobSnapshot, JobsSnapshot };

/** Return a store that follows a job while it has subscribers. */
export function jobStore<K extends Kind>(options: FollowJobOptions<K>): Readable<JobSnapshot<K>>;

export interface JobsStore<K extends Kind = Kind> extends Readable<JobsSnapshot<K>> {
  /** Follows these ids instead; the connection is kept. */
  setIds(ids: readonly (string | number)[]): void;
}

/** Return a store that follows many jobs of one kind over one connection while it has subscribers. */
export function jobsStore<K extends Kind>(options: FollowJobsOptions<K>): JobsStore<K>;
