"""Calls the API through a client that openapi-python-client generated as `generated`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from generated import AuthenticatedClient
from generated.api.jobs import get_job, get_job_history, list_jobs
from generated.api.progress import (
    get_job_progress,
    get_video_progress,
    query_progress,
    watch_job_progress,
)
from generated.models import ListJobsStatus, ProgressQuery

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
working = get_job_progress.sync("working-1", client=client)
video = get_video_progress.sync("7", client=client)
clip = get_video_progress.sync("clip-1", client=client)
query = ProgressQuery(jobs=["done-1", "none"], videos=[8])
asked = query_progress.sync(client=client, body=query)
listed = list_jobs.sync(
    client=client,
    status=ListJobsStatus.DONE,
    label=["team:a"],
    limit=1,
    updated_since=datetime(2020, 1, 1, tzinfo=UTC),
)
stored = get_job.sync("done-1", client=client)
history = get_job_history.sync("done-1", client=client)
stream = watch_job_progress.sync("done-1", client=client)
problem = get_job.sync("none", client=client)
jobs = asked.jobs.additional_properties
sys.stdout.write(
    json.dumps(
        {
            "percent": working.progress.percent,
            "rows": working.progress["rows"],
            "video": [video.id, video.encoding_progress],
            "clip": [clip.id, clip.status],
            "asked": [
                jobs["done-1"].status,
                jobs["none"],
                asked.videos.additional_properties["8"].duration,
            ],
            "listed": [each.job_id for each in listed.items],
            "result": stored.result,
            "labels": stored.labels.to_dict(),
            "history": [each.type_ for each in history.items],
            "stream": "event: state" in stream,
            "problem": [problem.type_, problem.status],
        }
    )
)
