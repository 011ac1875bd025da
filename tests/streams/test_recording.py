from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.async_reporter import AsyncReporter
from streams.events import InvalidEvent
from streams.kinds import State
from streams.recording import RecordedJobs, recording
from streams.reporter import Reporter

BEFORE = Reporter.from_url("redis://127.0.0.1:1/0", progress_per_second=1e9)
"""A reporter of the application that is made before the test begins."""


@pytest.fixture(name="jobs")
def recorded() -> Iterator[RecordedJobs]:
    """What the test reports."""
    with recording() as found:
        yield found


def test_all_reporters_of_the_process_are_recorded(
    jobs: RecordedJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        reporter = AsyncReporter.from_env()
        async with reporter.job("a2", tenant=42) as job:
            await job.progress("parsing", 10)
            await job.progress("saving", 90)

    with BEFORE.job("a1", tenant=42, job_type="excel", labels={"class": 3}) as job:
        for percent in (10, 20):
            job.progress("saving", percent)
        job.done({"rows": 5})
    asyncio.run(work())
    first, second = jobs
    assert (first.state, first.result, first.percents) == (State.DONE, {"rows": 5}, [10, 20])
    assert (first.job_type, first.labels, first.tenant) == ("excel", {"class": "3"}, "42")
    assert second.types == ["processing", "progress", "progress", "done"]
    assert (second.steps, jobs["a2"].percents) == (["parsing", "saving"], [10, 90])
    assert len(jobs) == 2
    assert "a1" in jobs
    assert "a3" not in jobs


def test_state__is_that_of_the_highest_attempt(jobs: RecordedJobs) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), BEFORE.job("a1", tenant=43, attempt="next"):
            raise KeyError
    with Reporter.from_env().job("a1", tenant=43, attempt="next") as job:
        job.progress(30)
        found = jobs.find("a1", tenant=43)
        assert (found.state, found.attempt, found.error) == (State.PROCESSING, 3, None)
    assert jobs["a1"].state == "done"


def test_reporter__is_strict(jobs: RecordedJobs) -> None:
    with pytest.raises(InvalidEvent), jobs.reporter.job("a1", tenant=42) as job:
        job.progress(percent="x")  # type: ignore[arg-type]  # the mistake
    assert (jobs["a1"].state, jobs["a1"].code) == ("failed", "InvalidEvent")


def test_id_of_two_jobs__needs_the_tenant(jobs: RecordedJobs) -> None:
    for tenant in (1, 2):
        BEFORE.queued("a1", tenant=tenant)
    with pytest.raises(KeyError, match="2 jobs have the id a1"):
        _ = jobs["a1"]
    assert jobs.find("a1", tenant=2).tenant == "2"


TEST = """
import sys
import pytest


def test_other():
    assert "redis" not in sys.modules
    assert not [name for name in sys.modules if name.startswith("jobtrail.report")]


def test_ours(recorded_jobs):
    assert list(recorded_jobs) == []
"""


def test_plugin__costs_other_tests_no_import(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    other = ("no:jobtrail", "no:anyio", "no:schemathesis", "no:hypothesispytest")
    plugins = [f"-p{name}" for name in (*other, "jobtrail.pytest_plugin")]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "test_it.py"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("JOBTRAIL")},
        check=True,
        timeout=120,
    )
