import { createApp } from "vue";
import Many from "./Many.vue";
import One from "./One.vue";
import { parameters } from "./page";

createApp(parameters.many ? Many : One).mount("#app");
