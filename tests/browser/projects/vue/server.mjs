// Prints what a server renders.
import { createSSRApp, h } from "vue";
import { renderToString } from "vue/server-renderer";
import { useJob, useJobs } from "jobtrail/vue";

const Page = {
  setup() {
    const one = useJob({ kind: "job", id: "a1" });
    const many = useJobs({ kind: "job", ids: ["a1"] });
    return () => h("p", `${one.connection.value} ${many.connection.value}`);
  },
};

console.log(await renderToString(createSSRApp(Page)));
