// Prints what a server renders.
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import "jobtrail/element";
import { useJob, useJobs } from "jobtrail/react";

function Page() {
  const one = useJob({ kind: "job", id: "a1" });
  const many = useJobs({ kind: "job", ids: ["a1"] });
  return createElement("p", null, `${one.connection} ${many.connection}`);
}

console.log(renderToString(createElement(Page)));
