/** Types of vue.js: Vue composables (Vue 3.3 or later). */
import type { ComputedRef, MaybeRefOrGetter } from "vue";
import type { Kind } from "./client.js";
import type { FollowJobOptions, FollowJobsOptions, JobSnapshot, JobsSnapshot } from "./snapshots.js";

export type { FollowJobOptions, FollowJobsOptions, JobSnapshot, JobsSnapshot };

/** A computed reference to each member. */
export type Computed<T> = { readonly [Name in keyof T]: ComputedRef<T[Name]> };

/** Follow a job until the scope of the caller, such as a component, ends. */
export function useJob<K extends Kind>(options: MaybeRefOrGetter<FollowJobOptions<K>>): Computed<JobSnapshot<K>>;

/** Follow many jobs of one kind over one connection. */
export function useJobs<K extends Kind>(options: MaybeRefOrGetter<FollowJobsOptions<K>>): Computed<JobsSnapshot<K>>;
