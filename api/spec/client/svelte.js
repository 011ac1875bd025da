/** Svelte stores (Svelte 4 or later): `jobStore` for one job, `jobsStore` for many over one connection. */
import { readable } from "svelte/store";
import { emptyJob, emptyJobs, followJob, followJobs, jobKey } from "./snapshots.js";

const CAN_FOLLOW = typeof window !== "undefined"; // not while a server renders

export function jobStore(options) {
  const watched = jobKey(options) !== null;
  return readable(emptyJob(watched), (set) => (watched && CAN_FOLLOW ? followJob(options, set) : undefined));
}

export function jobsStore(options) {
  let { ids } = options, follower;
  const { subscribe } = readable(emptyJobs(ids.length > 0), (set) => {
    if (!CAN_FOLLOW) return undefined;
    follower = followJobs({ ...options, ids }, set);
    return () => {
      follower.close();
      follower = undefined;
    };
  });
  const setIds = (next) => {
    ids = next;
    follower?.setIds(ids);
  };
  return { subscribe, setIds };
}
