import { StrictMode, memo, useState } from "react";
import { createRoot } from "react-dom/client";
import { summaryOf, type JobState } from "jobtrail";
import { useJob, useJobs } from "jobtrail/react";
import "jobtrail/element";
import { getToken, parameters } from "./page";

const { ids, many, tokens, tenant, stream } = parameters;
const options = {
  kind: "job" as const,
  ...(tokens ? { getToken } : {}),
  ...(tenant ? { tenant } : {}),
  ...(stream ? { stream } : {}),
};

function One() {
  const [index, setIndex] = useState(0);
  const { state, error, connection } = useJob({ ...options, id: ids[index] });
  return (
    <>
      <p id="status">{state?.status}</p>
      <p id="percent">{state && summaryOf("job", state).percent}</p>
      <p id="connection">{connection}</p>
      <p id="error">{error?.detail}</p>
      <button onClick={() => setIndex(index + 1)}>Next</button>
      <job-progress state={state} label="Import" />
    </>
  );
}

const Row = memo(({ id, state }: { id: string; state: JobState | undefined }) => (
  <li data-job={id}>{state ? `${state.status} ${state.progress?.percent ?? ""}` : "…"}</li>
));

function Many() {
  const [shown, setShown] = useState(ids);
  const { states, missing, connection } = useJobs({ ...options, ids: shown });
  return (
    <>
      <p id="connection">{connection}</p>
      <p id="missing">{missing.join(" ")}</p>
      <button onClick={() => setShown(shown.slice(1))}>Fewer</button>
      <ul>
        {shown.map((id) => (
          <Row key={id} id={id} state={states[id]} />
        ))}
      </ul>
    </>
  );
}

/** Never drawn: the types refuse what is wrong. */
export function Wrong() {
  // @ts-expect-error There is no such kind.
  useJob({ kind: "jobs", id: 1 });
  // @ts-expect-error A video has no `progress`.
  useJob({ kind: "video", id: 1 }).state?.progress;
  return null;
}

createRoot(document.querySelector("#app")!).render(<StrictMode>{many ? <Many /> : <One />}</StrictMode>);
