// Prints what a server reads from the stores when it renders.
import { get } from "svelte/store";
import { jobStore, jobsStore } from "jobtrail/svelte";

const one = get(jobStore({ kind: "job", id: "a1" }));
const many = get(jobsStore({ kind: "job", ids: ["a1"] }));
console.log(`<p>${one.connection} ${many.connection}</p>`);
