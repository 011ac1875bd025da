from __future__ import annotations

from pathlib import Path

import redis

from ops.demo import _Demo, _quietly, _report
from streams.keys import Keys
from streams.settings import Settings
from streams.wire import ask


def test_demo_sheds_its_progress_where_a_log_is_full(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    clip = tmp_path / "demo" / "clip.mp4"
    clip.parent.mkdir()
    clip.touch()
    demo = _Demo(Settings(redis_url=redis_url, data_dir=tmp_path, stream_max_bytes=1))
    _quietly(_report, demo)
    assert redis_client.hget(Keys().shed(), "3") == b"1"
    said = str(ask(redis_client, "XRANGE", Keys().stream("3"), "-", "+"))
    assert '"type":"failed"' in said
    assert '"type":"progress"' not in said
