import { mount } from "svelte";
import Many from "./Many.svelte";
import One from "./One.svelte";
import { parameters } from "./page";

mount(parameters.many ? Many : One, { target: document.querySelector("#app")! });
