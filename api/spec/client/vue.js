/** Vue composables (Vue 3.3 or later): `useJob` for one job, `useJobs` for many over one connection. */
import { computed, shallowRef, toValue, watch } from "vue";
import { emptyJob, emptyJobs, followJob, followJobs, idsKey, jobKey, jobsKey, withLatest } from "./snapshots.js";

const CAN_FOLLOW = typeof window !== "undefined"; // not while a server renders

export function useJob(options) {
  const snapshot = shallowRef(emptyJob());
  const latest = () => toValue(options);
  const follow = (key, _, onCleanup) => {
    snapshot.value = emptyJob(key !== null);
    if (key === null || !CAN_FOLLOW) return;
    onCleanup(followJob(withLatest(latest), (next) => (snapshot.value = next)));
  };
  watch(() => jobKey(latest()), follow, { immediate: true });
  return parts(snapshot, ["state", "error", "connection"]);
}

export function useJobs(options) {
  const snapshot = shallowRef(emptyJobs());
  const latest = () => toValue(options);
  let follower;
  const follow = (_key, _, onCleanup) => {
    snapshot.value = emptyJobs(latest().ids.length > 0);
    if (!CAN_FOLLOW) return;
    follower = followJobs(withLatest(latest), (next) => (snapshot.value = next));
    onCleanup(follower.close);
  };
  watch(() => jobsKey(latest()), follow, { immediate: true });
  watch(() => idsKey(latest()), () => follower?.setIds(latest().ids));
  return parts(snapshot, ["states", "missing", "error", "connection"]);
}

function parts(snapshot, names) {
  return Object.fromEntries(names.map((name) => [name, computed(() => snapshot.value[name])]));
}
