// Calls the API through a client that OpenAPI Generator generated as the package `jobtrail`.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	jobtrail "generated"
)

func present[T any](value T, _ any, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	configuration := jobtrail.NewConfiguration()
	configuration.Servers[0].URL = os.Args[1]
	client := jobtrail.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), jobtrail.ContextAccessToken, os.Args[2])
	progress, jobs := client.ProgressAPI, client.JobsAPI

	working := present(progress.GetJobProgress(ctx, "working-1").Execute()).Progress.Get()
	video := present(progress.GetVideoProgress(ctx, "7").Execute())
	clip := present(progress.GetVideoProgress(ctx, "clip-1").Execute())

	var query jobtrail.ProgressQuery
	if err := json.Unmarshal([]byte(`{"jobs": ["done-1", "none"], "videos": [8]}`), &query); err != nil {
		panic(err)
	}
	asked := present(progress.QueryProgress(ctx).ProgressQuery(query).Execute())
	listed := present(jobs.ListJobs(ctx).Status("DONE").Label([]string{"team:a"}).Limit(1).
		UpdatedSince(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)).Execute())
	stored := present(jobs.GetJob(ctx, "done-1").Execute())
	history := present(jobs.GetJobHistory(ctx, "done-1").Execute())
	stream := present(progress.WatchJobProgress(ctx, "done-1").Execute())
	_, _, err := jobs.GetJob(ctx, "none").Execute()
	problem := err.(*jobtrail.GenericOpenAPIError).Model().(jobtrail.ProblemDetails)

	ids, types := []string{}, []string{}
	for _, each := range listed.Items {
		ids = append(ids, each.JobId)
	}
	for _, each := range history.Items {
		types = append(types, each.Type)
	}
	answer, err := json.Marshal(map[string]any{
		"percent": working.GetPercent(),
		"rows":    working.AdditionalProperties["rows"],
		"video":   []any{video.Id, video.EncodingProgress.Get()},
		"clip":    []any{clip.Id, clip.Status},
		"asked":   []any{asked.Jobs["done-1"].Status, asked.Jobs["none"], asked.Videos["8"].Duration},
		"listed":  ids,
		"result":  stored.Result,
		"labels":  stored.Labels,
		"history": types,
		"stream":  strings.Contains(stream, "event: state"),
		"problem": []any{problem.Type, problem.Status},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(answer))
}
