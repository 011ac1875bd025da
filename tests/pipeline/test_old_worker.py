"""A worker of the old system, unchanged but for its imports, and readers that never changed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import redis

from tests.pipeline.conftest import Start, environ
from tests.support.waiting import ENDING, eventually

OLD_WORKER = """
import sys
from {adapters} import RedisProgressAdapter, VideoProgressAdapter
from {states} import cache_job_status, cache_video_status

STEPS = [("presigning", "준비"), ("downloading", "다운로드"), ("transcoding", "인코딩")]


def encode(video_id, tenant_id):
    progress = VideoProgressAdapter(video_id, tenant_id, 21600)
    cache_video_status(tenant_id, video_id, "PROCESSING", ttl=21600)
    for number, (step, display) in enumerate(STEPS, start=1):
        progress.record_progress("video:%d" % video_id, step, {{
            "percent": 30 * number, "remaining_seconds": 90 - 30 * number,
            "step_index": number, "step_total": 3, "step_name": step,
            "step_name_display": display, "step_percent": 100,
        }})
    if sys.argv[1] == "to the end":
        cache_video_status(tenant_id, video_id, "READY", hls_path="/hls/17.m3u8", duration=61)


def grade(job_id, tenant_id):
    cache_job_status(str(tenant_id), job_id, "PROCESSING", job_type="omr", ttl=21600)
    RedisProgressAdapter().record_progress(job_id, "grading", {{"percent": 50, "sheet": 3}},
                                           tenant_id=str(tenant_id))
    if sys.argv[1] == "to the end":
        cache_job_status(str(tenant_id), job_id, "DONE", job_type="omr", result={{"sheets": 6}})


encode(17, 7)
grade("omr-1", 7)
"""


def old_reader(client: redis.Redis, key: str) -> dict[str, Any]:
    """Read as it always was: GET and json.loads."""
    raw: Any = client.get(key)
    assert raw is not None
    document: dict[str, Any] = json.loads(raw)
    return document


def run_worker(mode: str, servers: dict[str, str]) -> None:
    code = OLD_WORKER.format(adapters="streams.compat", states="streams.compat")
    command = [sys.executable, "-c", code, mode]
    subprocess.run(command, env=environ(servers), check=True, timeout=ENDING)


def test_old_readers_see_what_they_always_saw(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    start("consume", "status", **servers)
    run_worker("half way", servers)

    def half_way() -> bool:
        video = old_reader(redis_client, "tenant:7:video:17:progress")
        assert video["step_index"] == 3
        assert {
            "step": "transcoding",
            "percent": 90,
            "remaining_seconds": 0,
            "step_total": 3,
            "step_name": "transcoding",
            "step_name_display": "인코딩",
            "step_percent": 100,
        }.items() <= video.items()
        assert old_reader(redis_client, "tenant:7:video:17:status")["status"] == "PROCESSING"
        job = old_reader(redis_client, "tenant:7:job:omr-1:progress")
        assert {"step": "grading", "percent": 50, "sheet": 3}.items() <= job.items()
        ttl: Any = redis_client.ttl("tenant:7:job:omr-1:progress")
        return bool(21_000 < ttl <= 21_600)

    eventually(half_way)
    run_worker("to the end", servers)

    def at_the_end() -> bool:
        video = old_reader(redis_client, "tenant:7:video:17:status")
        assert {"status": "READY", "hls_path": "/hls/17.m3u8", "duration": 61}.items() <= (
            video.items()
        )
        job = old_reader(redis_client, "tenant:7:job:omr-1:status")
        assert {"status": "DONE", "job_type": "omr", "result": {"sheets": 6}}.items() <= job.items()
        ttl: Any = redis_client.ttl("tenant:7:job:omr-1:status")
        return bool(ttl == -1)

    eventually(at_the_end)
