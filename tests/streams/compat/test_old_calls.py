"""Old calls: the events that they append, and the documents that old readers get."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from ops.devstack import EmbeddedRedis
from projections.decoding import decode
from projections.status.writer import StatusCache
from streams.appender import EventAppender
from streams.compat import RedisProgressAdapter, VideoProgressAdapter
from streams.compat import bridge as compat_bridge
from streams.compat.bridge import Bridge, use
from streams.compat.reading import (
    get_job_status,
    get_video_encoding_progress,
    get_video_encoding_remaining_seconds,
    get_video_encoding_step_detail,
    get_video_status,
)
from streams.compat.states import (
    VideoCalls,
    cache_job_status,
    cache_video_status,
    refresh_video_progress_ttl,
)
from streams.connection import InvalidUrl, LogUnavailable, connect
from streams.entry_ids import of_reply
from streams.kinds import State
from streams.reporter import Reporter
from streams.settings import SettingsError
from tests.support.exceptions import Unprintable

DISPLAY = {
    "percent": 5,
    "remaining_seconds": 120,
    "step_index": 1,
    "step_total": 7,
    "step_name": "presigning",
    "step_name_display": "준비",
    "step_percent": 100,
}
"""What the old video worker passes at its first step."""


class World:
    """A Redis with a bridge, and the projection `status`, which catches up on demand."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.bridge = Bridge(client)
        self._cache = StatusCache(client)

    def events(self, tenant: str = "7") -> list[dict[str, Any]]:
        return [json.loads(raw) for _, raw in self._entries(tenant)]

    def types(self) -> list[str]:
        return [event["type"] for event in self.events()]

    def project(self, tenant: str = "7") -> None:
        self._cache.apply(
            [decode(tenant, of_reply(at), [b"event", raw]) for at, raw in self._entries(tenant)]
        )

    def document(self, name: str) -> dict[str, Any] | None:
        """Read a key as old readers do."""
        raw = cast("bytes | None", self.client.get(name))
        return None if raw is None else json.loads(raw)

    def _entries(self, tenant: str) -> list[tuple[bytes, bytes]]:
        found: Any = self.client.xrange(f"tenant:{tenant}:events")
        return [(entry_id, fields[b"event"]) for entry_id, fields in found]


@pytest.fixture
def world(redis_client: redis.Redis) -> Iterator[World]:
    world = World(redis_client)
    use(world.bridge)
    yield world
    compat_bridge.forget()


def test_a_job_worker_changes_its_import_alone(world: World) -> None:
    RedisProgressAdapter().record_progress("a1", "parsing", {"percent": 40, "row": 3}, tenant_id=7)
    world.project()
    document = world.document("tenant:7:job:a1:progress")
    assert document is not None
    assert {"step": "parsing", "percent": 40, "row": 3}.items() <= document.items()
    assert RedisProgressAdapter().get_progress("a1", tenant_id="7") == document
    assert get_job_status(7, "a1", through=world.bridge)["status"] == "PROCESSING"  # type: ignore[index]


def test_a_video_worker_changes_its_import_alone(world: World) -> None:
    adapter = VideoProgressAdapter(video_id=17, tenant_id=7, ttl_seconds=21600)
    adapter.record_progress("ignored", "presigning", DISPLAY)
    world.project()
    document = world.document("tenant:7:video:17:progress")
    assert document is not None
    assert ({"step": "presigning"} | DISPLAY).items() <= document.items()
    assert adapter.get_progress("ignored either") == adapter.get_progress_direct() == document


def test_views_get_percent_remaining_seconds_and_step(world: World) -> None:
    VideoProgressAdapter(17, 7).record_progress("", "presigning", DISPLAY)
    world.project()
    assert get_video_encoding_progress(17, 7) == 5
    assert get_video_encoding_remaining_seconds(17, 7) == 120
    assert get_video_encoding_step_detail(17, 7) == {
        "step_index": 1,
        "step_total": 7,
        "step_name": "presigning",
        "step_name_display": "준비",
        "step_percent": 100,
    }


def test_views_get_the_share_of_a_step_that_told_no_percent(world: World) -> None:
    VideoProgressAdapter(17, 7).record_progress("", "thumbnail")
    VideoProgressAdapter(18, 7).record_progress("", "polishing")
    world.project()
    assert get_video_encoding_progress(17, 7) == 85
    assert get_video_encoding_progress(18, 7) == 50
    assert get_video_encoding_step_detail(17, 7) is None
    assert get_video_encoding_progress(19, 7) is None


def test_another_tenants_views_get_nothing(world: World) -> None:
    VideoProgressAdapter(17, 7).record_progress("", "presigning", DISPLAY)
    world.project()
    assert get_video_status(8, 17) is None
    assert get_video_encoding_progress(17, 8) is None


class TestStates:
    """Queues deliver at least once, and workers make calls twice, late and in competition."""

    @pytest.fixture
    def videos(self, world: World) -> VideoCalls:
        return VideoCalls(7, through=world.bridge)

    def test_complete_twice_is_one_end(self, world: World, videos: VideoCalls) -> None:
        assert videos.complete_video(17, "/hls/17.m3u8", 61) == (True, "ok")
        world.project()
        assert videos.complete_video(17, "/hls/other.m3u8", 62) == (True, "idempotent")
        assert world.types() == ["done"]

    def test_complete_twice_before_anything_is_served_keeps_the_first(
        self, world: World, videos: VideoCalls
    ) -> None:
        videos.complete_video(17, "/hls/17.m3u8", 61)
        videos.complete_video(17, "/hls/other.m3u8", 62)
        world.project()
        status = get_video_status(7, 17)
        assert status is not None
        assert (status["status"], status["hls_path"]) == ("READY", "/hls/17.m3u8")

    def test_fail_twice_is_one_end(self, world: World, videos: VideoCalls) -> None:
        assert videos.fail_video(17, "no source") == (True, "ok")
        world.project()
        assert videos.fail_video(17, "still none") == (True, "idempotent")
        assert world.types() == ["failed"]

    def test_fail_with_an_exception_without_text_is_a_failure(
        self, world: World, videos: VideoCalls
    ) -> None:
        reason: Any = Unprintable()
        assert videos.fail_video(17, reason) == (True, "ok")
        world.project()
        status = get_video_status(7, 17)
        assert status is not None
        assert (status["status"], status["error_reason"]) == ("FAILED", "Unprintable")

    def test_mark_processing_twice_is_once(self, world: World, videos: VideoCalls) -> None:
        assert videos.mark_processing(17)
        world.project()
        assert videos.mark_processing(17)
        assert world.types() == ["processing"]

    def test_mark_processing_leaves_what_ended(self, world: World, videos: VideoCalls) -> None:
        videos.complete_video(17, "/hls/17.m3u8")
        videos.fail_video(18, "no source")
        world.project()
        assert not videos.mark_processing(17)
        assert not videos.mark_processing(18)
        world.project()
        assert [get_video_status(7, video)["status"] for video in (17, 18)] == ["READY", "FAILED"]  # type: ignore[index]

    def test_mark_processing_leaves_what_ended_unseen(
        self, world: World, videos: VideoCalls
    ) -> None:
        videos.complete_video(17, "/hls/17.m3u8")
        videos.mark_processing(17)  # the end is not served yet: it is appended, and folded away
        world.project()
        assert get_video_status(7, 17)["status"] == "READY"  # type: ignore[index]

    @pytest.mark.parametrize("served", [True, False])
    def test_fail_after_complete_stays_complete(
        self, world: World, videos: VideoCalls, *, served: bool
    ) -> None:
        videos.complete_video(17, "/hls/17.m3u8")
        if served:
            world.project()
        outcome = videos.fail_video(17, "too late")
        world.project()
        assert outcome == ((False, "done") if served else (True, "ok"))
        assert get_video_status(7, 17)["status"] == "READY"  # type: ignore[index]

    @pytest.mark.parametrize("served", [True, False])
    def test_complete_after_fail_wins(
        self, world: World, videos: VideoCalls, *, served: bool
    ) -> None:
        videos.fail_video(17, "given up")
        if served:
            world.project()
        assert videos.complete_video(17, "/hls/17.m3u8", 61) == (True, "ok")
        world.project()
        status = get_video_status(7, 17)
        assert status is not None
        assert (status["status"], status["duration"]) == ("READY", 61)

    def test_a_new_attempt_reopens_and_later_calls_are_about_it(
        self, world: World, videos: VideoCalls
    ) -> None:
        videos.fail_video(17, "no source")
        world.project()
        assert videos.mark_processing(17, attempt=2)
        VideoProgressAdapter(17, 7).record_progress("", "presigning", DISPLAY)
        videos.complete_video(17, "/hls/17.m3u8")
        world.project()
        status = get_video_status(7, 17)
        assert status is not None
        assert (status["status"], status["attempt"]) == ("READY", 2)

    def test_another_process_goes_on_with_the_attempt_that_is_served(
        self, world: World, videos: VideoCalls
    ) -> None:
        videos.mark_processing(17, attempt=3)
        world.project()
        VideoCalls(7, through=Bridge(world.client)).complete_video(17, "/hls/17.m3u8")
        assert [event["attempt"] for event in world.events()] == [3, 3]


class TestCachedStatuses:
    """The helpers that wrote status keys after the durable save."""

    def test_a_job_goes_through_its_states(self, world: World) -> None:
        assert cache_job_status("7", "a1", "PROCESSING", job_type="excel", ttl=21600)
        assert cache_job_status("7", "a1", "DONE", job_type="excel", result={"rows": 5})
        world.project()
        status = get_job_status("7", "a1")
        assert status is not None
        assert (status["status"], status["job_type"], status["result"]) == (
            "DONE",
            "excel",
            {"rows": 5},
        )

    def test_a_type_that_progress_did_not_tell_is_added(self, world: World) -> None:
        RedisProgressAdapter().record_progress("a1", "parsing", tenant_id=7)
        for _ in range(2):
            world.project()
            assert cache_job_status("7", "a1", "PROCESSING", job_type="excel")
        world.project()
        assert get_job_status("7", "a1")["job_type"] == "excel"  # type: ignore[index]
        assert world.types() == ["progress", "processing"]

    def test_a_failed_video_says_why(self, world: World) -> None:
        assert cache_video_status(7, 17, "FAILED", error_reason="no source")
        world.project()
        assert get_video_status(7, 17)["error_reason"] == "no source"  # type: ignore[index]

    def test_words_of_an_enumeration_are_read(self, world: World) -> None:
        class Word:
            value = "READY"

        assert cache_video_status(7, 17, Word(), hls_path="/hls/17.m3u8", duration=61)
        assert world.types() == ["done"]

    def test_values_that_json_does_not_know_are_written_as_text(self, world: World) -> None:
        assert cache_job_status("7", "a1", "DONE", result={"at": State.DONE, "path": object})
        assert world.events()[0]["result"]["path"] == str(object)

    def test_a_result_is_served_as_it_was_given(self, world: World) -> None:
        cache_job_status("7", "a1", "DONE", result={"rows": 5, "error": None})
        world.project()
        assert get_job_status("7", "a1")["result"] == {"rows": 5, "error": None}  # type: ignore[index]

    @pytest.mark.parametrize("result", [{"text": "x" * 2_000_000}, {(1, 2): 3}])
    def test_an_end_is_worth_more_than_its_result(
        self, world: World, caplog: pytest.LogCaptureFixture, result: dict[Any, Any]
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert cache_job_status("7", "a1", "DONE", result=result)
        assert world.events()[0] | {"result": {}} == world.events()[0]
        assert "the result of job a1 was left out" in caplog.text

    @pytest.mark.parametrize(
        ("tenant", "job", "word"), [("7", "a1", "SHINY"), ("a b", "a1", "DONE"), ("7", "/", "DONE")]
    )
    def test_what_cannot_be_appended_is_false_and_a_warning(
        self, world: World, caplog: pytest.LogCaptureFixture, tenant: str, job: str, word: str
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert not cache_job_status(tenant, job, word)
        assert "was not appended" in caplog.text
        assert not world.client.keys("*")


class TestOldKeys:
    def test_without_a_tenant_the_old_key_is_written_and_read(self, world: World) -> None:
        adapter = RedisProgressAdapter(ttl_seconds=60)
        adapter.record_progress("a1", "parsing", {"percent": 40})
        assert world.document("job:a1:progress") == {"step": "parsing", "percent": 40}
        assert 0 < world.client.ttl("job:a1:progress") <= 60
        assert adapter.get_progress("a1") == {"step": "parsing", "percent": 40}

    def test_an_empty_tenant_is_none(self, world: World) -> None:
        adapter = RedisProgressAdapter()
        adapter.record_progress("video:17", "parsing", {"percent": 40}, tenant_id="")
        assert world.document("job:video:17:progress") == {"step": "parsing", "percent": 40}
        assert adapter.get_progress("video:17", tenant_id="") is not None
        assert get_video_encoding_progress(17, "") == 40

    def test_a_processing_video_falls_back_where_that_is_switched_on(self, world: World) -> None:
        world.client.set("job:video:17:progress", b'{"step":"transcoding","percent":61}')
        VideoCalls(7, through=world.bridge).mark_processing(17)
        assert get_video_encoding_progress(17, 7) is None
        old = Bridge(world.client, legacy_keys=True)
        assert get_video_encoding_progress(17, 7, through=old) is None  # not yet served
        world.project()
        assert get_video_encoding_progress(17, 7, through=old) == 61
        assert get_video_encoding_progress(17, 8, through=old) is None
        VideoCalls(7, through=world.bridge).complete_video(17, "/hls/17.m3u8")
        world.project()
        assert get_video_encoding_progress(17, 7, through=old) is None

    def test_an_unended_job_lives_longer_and_an_ended_one_for_ever(self, world: World) -> None:
        videos = VideoCalls(7, through=world.bridge)
        videos.mark_processing(17)
        videos.complete_video(18, "/hls/18.m3u8")
        world.project()
        for video in (17, 18):
            assert refresh_video_progress_ttl(7, video, ttl=90_000)
        assert world.client.ttl("tenant:7:video:17:status") > 80_000
        assert world.client.ttl("tenant:7:video:18:status") == -1


class TestBadWeather:
    def test_progress_is_a_warning_and_ends_are_raised(
        self, redis_server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
    ) -> None:
        with connect("redis://127.0.0.1:1/0") as client:
            reporter = Reporter(EventAppender(client), end_retry_seconds=0)
            bridge = Bridge(client, reporter=reporter)
            adapter = RedisProgressAdapter(through=bridge)
            with caplog.at_level(logging.WARNING):
                adapter.record_progress("a1", "parsing", tenant_id=7)
                assert adapter.get_progress("a1", tenant_id=7) is None
                assert get_job_status(7, "a1", through=bridge) is None
                assert not cache_job_status(7, "a1", "DONE", through=bridge)
            assert "progress of job a1 dropped" in caplog.text
            with pytest.raises(LogUnavailable):
                VideoCalls(7, through=bridge).complete_video(17, "/hls/17.m3u8")

    def test_what_the_old_keys_took_is_never_an_error(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        adapter = RedisProgressAdapter()
        with caplog.at_level(logging.WARNING):
            adapter.record_progress("a1", "s", {"percent": "40", "blob": "x" * 9000}, tenant_id=7)
            adapter.record_progress("a1", "s", {"percent": "much"}, tenant_id=7)
        first, second = world.events()
        assert first["percent"] == 40
        assert "extra" not in first
        assert second["extra"] == {"percent": "much"}

    @pytest.mark.parametrize("tenant", [None, 7])
    @pytest.mark.parametrize("job_id", ["a1", "caf\udce9"])
    @pytest.mark.parametrize("extra", [7, "text", [1, 2], {(1, 2): 3}], ids=str)
    def test_no_extra_or_id_raises(
        self,
        world: World,
        caplog: pytest.LogCaptureFixture,
        tenant: int | None,
        job_id: str,
        extra: Any,
    ) -> None:
        del world
        RedisProgressAdapter().record_progress(job_id, "s", extra, tenant_id=tenant)
        RedisProgressAdapter().get_progress(job_id, tenant_id=tenant)
        assert all(each.getMessage().isprintable() for each in caplog.records)

    def test_tenant_0_is_a_tenant(self, world: World) -> None:
        RedisProgressAdapter().record_progress("a1", "s", tenant_id=0)
        assert world.client.exists("tenant:0:events")
        assert not world.client.exists("job:a1:progress")

    @pytest.mark.parametrize(
        ("extra", "seen"),
        [
            ({"remaining_seconds": -5, "row": 3}, {"remaining_seconds": 0, "row": 3}),
            ({"step_index": -1, "percent": 40}, {"step_index": None, "percent": 40}),
            ({"percent": 1e300, "row": 3}, {"percent": None, "row": 3}),
            ({"step_name_display": "x" * 300}, {"step_name_display": "x" * 200}),
            ({(1, 2): 3}, {"step": "parsing"}),
        ],
    )
    def test_one_odd_value_does_not_cost_the_report(
        self, world: World, extra: dict[Any, Any], seen: dict[str, Any]
    ) -> None:
        RedisProgressAdapter().record_progress("a1", "parsing", extra, tenant_id=7)
        world.project()
        document = world.document("tenant:7:job:a1:progress")
        assert document is not None
        assert ({"step": "parsing"} | seen).items() <= document.items()

    @pytest.mark.parametrize("url", ["", "nonsense://"])
    def test_no_server_named_is_a_warning_where_the_old_calls_passed_over_it(
        self, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        compat_bridge.forget()
        monkeypatch.setenv("JOBTRAIL_REDIS_URL", url)
        with caplog.at_level(logging.WARNING):
            RedisProgressAdapter().record_progress("a1", "parsing", tenant_id=7)
            assert VideoProgressAdapter(17, 7).get_progress_direct() is None
            assert get_video_encoding_progress(17, 7) is None
            assert get_job_status(7, "a1") is None
            assert not cache_job_status(7, "a1", "DONE")
            assert not refresh_video_progress_ttl(7, 17)
        assert "nothing is appended or read: " in caplog.text
        with pytest.raises((SettingsError, InvalidUrl)):
            VideoCalls(7).complete_video(17, "/hls/17.m3u8")

    def test_the_server_is_named_by_the_environment(
        self, redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compat_bridge.forget()
        monkeypatch.setenv("JOBTRAIL_REDIS_URL", redis_url)
        RedisProgressAdapter().record_progress("a1", "parsing", tenant_id=7)
        compat_bridge.forget()
        assert redis_client.xlen("tenant:7:events") == 1


EXTRAS = st.dictionaries(
    st.sampled_from([*DISPLAY, "row", "note"]),
    st.none() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers()),
)


@given(steps=st.lists(st.tuples(st.text(max_size=300), EXTRAS), max_size=5))
def test_no_progress_call_ever_raises(
    redis_server: EmbeddedRedis, steps: list[tuple[str, dict[str, Any]]]
) -> None:
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        client.flushall()
        adapter = RedisProgressAdapter(through=Bridge(client))
        for step, extra in steps:
            adapter.record_progress("a1", step, extra, tenant_id=7)
