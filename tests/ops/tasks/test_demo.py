"""The demo that `jobtrail up --demo` runs."""

from __future__ import annotations

from pathlib import Path

import redis

from ops.tasks.demo import _Demo, _report, _run_job
from streams.keys import Keys
from streams.settings import Settings
from streams.wire import ask


def test_demo_sheds_its_progress_where_a_stream_is_full(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    clip = tmp_path / "demo" / "clip.mp4"
    clip.parent.mkdir()
    clip.touch()
    demo = _Demo(Settings(redis_url=redis_url, data_dir=tmp_path, stream_max_bytes=1))
    _run_job(_report, demo)
    assert redis_client.hget(Keys().shed(), "3") == b"1"
    entries = str(ask(redis_client, "XRANGE", Keys().stream("3"), "-", "+"))
    assert '"type":"failed"' in entries
    assert '"type":"progress"' not in entries
