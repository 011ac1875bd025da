/** Types of react.js: React hooks (React 18 or later). */
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { Kind } from "./client.js";
import type { JobProgressAttributes, JobProgressElement } from "./element.js";
import type { FollowJobOptions, FollowJobsOptions, JobSnapshot, JobsSnapshot } from "./snapshots.js";

export type { FollowJobOptions, FollowJobsOptions, JobSnapshot, JobsSnapshot };

/** Follow a job while the component is mounted. Functions in the options may be new at each render. */
export function useJob<K extends Kind>(options: FollowJobOptions<K>): JobSnapshot<K>;

/** Follow many jobs of one kind over one connection. Functions and `ids` may be new at each render. */
export function useJobs<K extends Kind>(options: FollowJobsOptions<K>): JobsSnapshot<K>;

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "job-progress": DetailedHTMLProps<HTMLAttributes<JobProgressElement>, JobProgressElement> &
        JobProgressAttributes;
    }
  }
}
