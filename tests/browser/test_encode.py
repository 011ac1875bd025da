"""A page follows a real encoding to READY while the API and Redis are restarted in the middle.

What a viewer of *states* can see of a step's end: a state says which step is on, so a later step
being on (or the step standing at 100 %, or the video being READY) says that the ones before it are
over. States between two that are seen may be missing: the worker reports at most four times a
second, and a viewer who was away is told how things stand, not what was missed. Every single event
is in the history, for whoever needs that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from ops.devstack import EmbeddedRedis
from ops.devstack.server import free_port
from tests.browser.conftest import Troubles, base_url
from tests.browser.following import PATIENCE, Follower, assert_in_order
from tests.pipeline.conftest import Start, environ
from tests.support.servers import RedisFactory
from tests.support.waiting import ENDING
from workers.video.ffmpeg.process import make_clip
from workers.video.steps import STEPS

TRANSCODING = 1 + [step.name for step in STEPS].index("transcoding")


@pytest.fixture
def lecture(tmp_path: Path) -> Path:
    """A minute of 720p: longer in the making than two restarts take."""
    return make_clip(tmp_path / "lecture.mp4", 60)


@pytest.fixture
def persisting(own_redis: RedisFactory) -> EmbeddedRedis:
    """A Redis whose data outlive its process."""
    return own_redis(persist=True)


def test_a_page_shows_every_steps_end_and_ready_over_restarts(
    page: Page, troubles: Troubles, start: Start, persisting: EmbeddedRedis, lecture: Path
) -> None:
    settings = {"redis_url": persisting.url, "auth": "dev"}
    port = str(free_port())
    api = start("api", api_port=port, **settings)
    base = base_url(api)
    start("consume", "status", **settings)
    troubles.expect(r"^answered (404|503): GET .*/media/videos/7/progress/")
    troubles.expect(rf"^failed: GET {base}/media/videos/7/progress/\S* net::ERR_")
    follower = Follower(page, base)
    follower.open(kind="video", id="7", tenant="42", waitForJob=PATIENCE, timing={})
    with encoding(lecture, settings) as worker:
        follower.wait("seen.states.at(-1)?.encoding_step_index === given", TRANSCODING)

        api.terminate()
        assert api.wait(ENDING) == 0
        expect(page.locator("#connection")).to_have_text("offline", timeout=PATIENCE)
        assert base_url(start("api", api_port=port, **settings)) == base
        further(follower)
        expect(page.locator("#connection")).to_have_text("sse", timeout=PATIENCE)

        persisting.stop()
        persisting.start()
        further(follower)
        assert worker.poll() is None  # it is the middle still

        end = follower.wait_for_end()
        said = json.loads(worker.communicate(timeout=ENDING)[0])

    assert end["status"] == "READY"
    assert (end["hls_path"], end["duration"]) == (said["hls_path"], said["duration"])
    assert Path(end["hls_path"]).is_file()
    expect(page.locator("#status")).to_have_text("READY")
    expect(page.locator("#steps li[data-over]")).to_have_count(len(STEPS))
    assert_in_order(follower.states)
    assert_steps_rise(follower.states)
    assert_ends_are_shown_in_time(follower.states, follower.seen["over"])


def encoding(film: Path, settings: dict[str, str]) -> subprocess.Popen[str]:
    """Start `jobtrail video encode` for video 7 of tenant 42."""
    words = (
        f"video encode {film} --tenant 42 --id 7 --output {film.with_name('media')} --json".split()
    )
    return subprocess.Popen(
        [sys.executable, "-m", "ops", *words],
        env=environ(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def further(follower: Follower) -> None:
    """Wait until the page was told that the encoding is further than it was, and not over."""
    before = follower.states[-1]
    assert before["status"] == "PROCESSING"
    follower.wait("seen.states.at(-1).encoding_progress > given", before["encoding_progress"])
    assert follower.states[-1]["status"] == "PROCESSING"


def assert_steps_rise(states: list[dict[str, Any]]) -> None:
    """The page saw the worker move on from step to step, never back, and more than one of them."""
    *working, _end = states
    told = [state["encoding_step_index"] for state in working if state["encoding_step_index"]]
    assert told == sorted(told)
    assert len(set(told)) > 1
    assert {state["encoding_step_total"] for state in working} <= {None, len(STEPS)}


def assert_ends_are_shown_in_time(states: list[dict[str, Any]], over: list[int]) -> None:
    """With each state the page showed the end of every step before the one that was on."""
    shown = list(zip(states, over, strict=True))
    *working, (_, at_the_end) = shown
    for state, ends in working:
        assert ends >= (state["encoding_step_index"] or 1) - 1
    assert over == sorted(over)
    # Not all of it at once when the video was READY: those before transcoding were seen to end.
    assert working[-1][1] >= TRANSCODING - 1
    assert at_the_end == len(STEPS)
