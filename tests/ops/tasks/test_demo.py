"""The demo that `jobtrail up --demo` runs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import redis

from ops.tasks import demo as demo_module
from ops.tasks.demo import _archive, _Demo, _repeat, _report, _run
from streams.keys import Keys
from streams.settings import Settings
from streams.wire import ask
from tests.support.groups import entries
from tests.support.waiting import ENDING, eventually


def test_demo_sheds_its_progress_where_a_stream_is_full(
    redis_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = tmp_path / "demo" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(bytes(100))
    demo = _Demo(Settings(redis_url=redis_url, data_dir=tmp_path, stream_max_bytes=1))
    monkeypatch.setattr(demo_module, "JOB_SECONDS", 0.0)
    _run(_report, demo, 1)
    assert redis_client.hget(Keys().shed(), "3") == b"1"
    found = str(ask(redis_client, "XRANGE", Keys().stream("3"), "-", "+"))
    assert '"type":"failed"' in found
    assert "on purpose" in found
    assert '"type":"progress"' not in found


class WatchedDemo(_Demo):
    """A demo of which a test can see that a job is in the middle of its work."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.is_in_a_job = threading.Event()

    def wait(self, seconds: float) -> None:
        if seconds > 0:
            self.is_in_a_job.set()
        super().wait(seconds)


def test_demo_goes_on_until_it_is_stopped_and_cancels_what_runs(
    redis_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = tmp_path / "demo" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(bytes(100))
    demo = WatchedDemo(Settings(redis_url=redis_url, data_dir=tmp_path))
    for name in ("JOB_SECONDS", "PAUSE"):
        monkeypatch.setattr(demo_module, name, 0.0)
    thread = threading.Thread(target=_repeat, args=(_archive, demo, 2))
    thread.start()
    ends = [b'"id":"archive-1","attempt":2', b'"id":"archive-2"']

    def events() -> bytes:
        return b"".join(entry["event"] for entry in entries(redis_client, Keys().stream("2")))

    eventually(lambda: all(end in events() for end in ends))
    monkeypatch.setattr(demo_module, "JOB_SECONDS", 60.0)
    eventually(demo.is_in_a_job.is_set)
    demo.stopped.set()
    thread.join(ENDING)
    assert events().count(b'"cancelled"') == 1
