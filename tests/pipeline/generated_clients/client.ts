// Calls the API through a client of openapi-fetch, with types that openapi-typescript generated.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
const [, , baseUrl, token] = process.argv;

const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("no data");
  return value;
}

const path = (id: string) => ({ params: { path: { id } } });
const working = present((await client.GET("/api/v1/jobs/{id}/progress/", path("working-1"))).data);
const video: components["schemas"]["VideoProgress"] = present(
  (await client.GET("/media/videos/{id}/progress/", path("7"))).data,
);
const clip = present((await client.GET("/media/videos/{id}/progress/", path("clip-1"))).data);
const asked = present(
  (await client.POST("/api/v1/progress/query", { body: { jobs: ["done-1", "none"], videos: [8] } })).data,
);
const listed = present(
  (
    await client.GET("/api/v1/jobs/", {
      params: { query: { status: "DONE", label: ["team:a"], limit: 1, updated_since: "2020-01-01T00:00:00Z" } },
    })
  ).data,
);
const stored = present((await client.GET("/api/v1/jobs/{id}/", path("done-1"))).data);
const history = present((await client.GET("/api/v1/jobs/{id}/history/", path("done-1"))).data);
const stream = await client.GET("/api/v1/jobs/{id}/progress/events", { ...path("done-1"), parseAs: "text" });
const { error } = await client.GET("/api/v1/jobs/{id}/", path("none"));

console.log(
  JSON.stringify({
    percent: working.progress?.percent,
    rows: working.progress?.["rows"],
    video: [video.id, video.encoding_progress],
    clip: [clip.id, clip.status],
    asked: [asked.jobs["done-1"]?.status, asked.jobs["none"], asked.videos["8"]?.duration],
    listed: listed.items.map((each) => each.job_id),
    result: stored.result,
    labels: stored.labels,
    history: history.items.map((each) => each.type),
    stream: present(stream.data).includes("event: state"),
    problem: [error?.type, error?.status],
  }),
);
