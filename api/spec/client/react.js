/** React hooks (React 18 or later): `useJob` for one job, `useJobs` for many over one connection. */
import { useEffect, useRef, useState } from "react";
import { emptyJob, emptyJobs, followJob, followJobs, idsKey, jobKey, jobsKey, withLatest } from "./snapshots.js";

export function useJob(options) {
  const key = jobKey(options);
  const latest = useLatest(options);
  const [held, hold] = useState({ key: null, snapshot: null });
  useEffect(() => {
    if (key === null) return undefined;
    const stop = followJob(withLatest(() => latest.current), (snapshot) => hold({ key, snapshot }));
    return () => {
      stop();
      hold({ key: null, snapshot: null });
    };
  }, [key]);
  // Never the state of the job before, not even while the first effect for this one is still to run.
  return key !== null && held.key === key ? held.snapshot : emptyJob(key !== null);
}

export function useJobs(options) {
  const key = jobsKey(options), ids = idsKey(options);
  const latest = useLatest(options);
  const follower = useRef(null);
  const [held, hold] = useState({ key: null, snapshot: null });
  useEffect(() => {
    const started = followJobs(withLatest(() => latest.current), (snapshot) => hold({ key, snapshot }));
    follower.current = { ids, started };
    return () => {
      follower.current = null;
      started.close();
      hold({ key: null, snapshot: null });
    };
  }, [key]);
  useEffect(() => {
    if (follower.current.ids === ids) return;
    follower.current.ids = ids;
    follower.current.started.setIds(latest.current.ids);
  }, [ids]);
  return held.key === key ? held.snapshot : emptyJobs(options.ids?.length > 0);
}

/** Return a reference to the value of the latest render. */
function useLatest(value) {
  const reference = useRef(value);
  useEffect(() => {
    reference.current = value;
  });
  return reference;
}
