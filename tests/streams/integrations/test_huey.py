"""A real Huey consumer with worker processes: however a task ends, its job ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import redis
from huey import MemoryHuey

from streams.compat.bridge import Bridge
from streams.integrations.huey import report_tasks
from tests.support.queue_workers import Queue, open_queue

ACADEMY = "tests.support.huey_academy"
WORDS = f"{ACADEMY}.huey --worker-type process --workers 2 --health-check-interval 0.5".split()

ENDS = {
    "grade": ("DONE", 1, None),
    "break_down": ("FAILED", 2, "LookupError"),
    "need_two_tries": ("DONE", 2, None),
    "ask_for_a_retry": ("DONE", 2, None),
    "give_up": ("CANCELLED", 1, None),
    "take_too_long": ("FAILED", 1, "TaskTimeout"),
    "exit_early": ("FAILED", 1, "SystemExit"),
    "be_killed": ("FAILED", 1, "WorkerLost"),
    "import_rows": ("DONE", 1, None),
    "revoke": ("CANCELLED", 1, None),
    "expire": ("CANCELLED", 1, None),
}
"""The expected end of each task's job: its status, attempt and code."""


@pytest.fixture(scope="module")
def queue() -> Iterator[Queue]:
    """A queue whose example this process imports, as one that publishes tasks."""
    with open_queue() as queue, pytest.MonkeyPatch.context() as patch:
        queue.write("huey_tasks.py")
        patch.syspath_prepend(queue.folder)
        patch.setenv("JOBTRAIL_REDIS_URL", queue.url)
        # The bridge of the package that the example imports, which other tests use too.
        bridge: Any = import_module("jobtrail.compat.bridge")
        bridge.forget()
        yield queue
        bridge.forget()
        for name in ("huey_tasks", ACADEMY):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module", name="send")
def send_to_a_consumer(queue: Queue) -> Callable[..., None]:
    """A consumer that has received one task of each kind."""
    academy = import_module(ACADEMY)
    academy.send_all()
    queue.start("huey_consumer", *WORDS)
    send: Callable[..., None] = academy.send
    return send


@pytest.mark.parametrize("task", ENDS)
@pytest.mark.usefixtures("send")
def test_however_a_task_ends__its_job_ends(queue: Queue, task: str) -> None:
    status = queue.ended(task, ENDS[task][1])
    assert (status["status"], status["attempt"], status.get("code")) == ENDS[task]


@pytest.mark.usefixtures("send")
def test_attempts_that_are_retried_do_not_end(queue: Queue) -> None:
    queue.ended("ask_for_a_retry", 2)
    types = [each["type"] for each in queue.events("ask_for_a_retry")]
    assert (types.count("failed"), types.count("processing"), types[-1]) == (0, 2, "done")
    queue.ended("need_two_tries", 2)
    assert queue.retried("need_two_tries") == [None, "LookupError: not yet"]
    assert queue.retried("ask_for_a_retry") == [None, None]


@pytest.mark.usefixtures("send")
def test_progress_is_reported_by_the_current_job(queue: Queue) -> None:
    queue.ended("import_rows")
    progress = [each for each in queue.events("import_rows") if each["type"] == "progress"]
    assert progress[0]["step"] == "importing"


def test_tasks_of_a_consumer_that_was_killed_have_failed(
    queue: Queue, send: Callable[..., None]
) -> None:
    jobs = ("lost-1", "lost-2")
    for job in jobs:
        send("take_too_long", job, timeout=600)
    for job in jobs:
        queue.reached(job, "PROCESSING")
    queue.kill()
    queue.start("huey_consumer", *WORDS)
    for job in jobs:
        status = queue.ended(job)
        assert (status["status"], status["code"]) == ("FAILED", "WorkerLost")


def test_a_task_that_a_shutdown_interrupts_is_cancelled(
    queue: Queue, send: Callable[..., None]
) -> None:
    send("take_too_long", "interrupted", timeout=600)
    queue.reached("interrupted", "PROCESSING")
    queue.terminate()
    assert queue.ended("interrupted")["status"] == "CANCELLED"


def test_a_second_call_replaces_the_first__below_the_wrapper_of_another_tool(
    redis_client: redis.Redis,
) -> None:
    huey: Any = MemoryHuey("wrapped", immediate=True)
    traced = list[str]()

    @huey.task()  # type: ignore[untyped-decorator]
    def grade(tenant_id: int) -> int:
        return tenant_id

    def reported() -> int:
        before = redis_client.xlen("tenant:7:events")
        grade(tenant_id=7)
        return int(redis_client.xlen("tenant:7:events")) - int(before)

    stop_first = report_tasks(huey, through=Bridge(redis_client))
    wrapped = huey._execute

    def trace(task: Any, timestamp: Any) -> Any:
        traced.append(task.id)
        return wrapped(task, timestamp)

    huey._execute = trace
    assert reported() == 3
    stop = report_tasks(huey, through=Bridge(redis_client))
    stop_first()
    assert reported() == 3
    stop()
    assert reported() == 0
    assert len(traced) == 3
