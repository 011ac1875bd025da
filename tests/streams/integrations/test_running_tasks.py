"""Records of running tasks, and the processes that are killed while they run them."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

import pytest

from streams.integrations.running_tasks import RunningTasks


def killed(tasks: RunningTasks, *records: str) -> None:
    """Run a process that records tasks, and is killed in the last one."""
    child = os.fork()
    if child == 0:
        for record in records:
            tasks.record({"id": record}) if record else tasks.clear()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_task_is_lost_once_if_its_process_was_killed(tmp_path: Path) -> None:
    tasks = RunningTasks(tmp_path / "tasks")
    tasks.record({"id": "here"})
    killed(tasks, "a longer name", "b")
    killed(tasks, "c", "")
    assert list(tasks.lost()) == [{"id": "b"}]
    assert list(tasks.lost()) == []
    assert len(list((tmp_path / "tasks").iterdir())) == 1


@pytest.mark.parametrize("mode", [0o777, 0o750])
def test_a_folder_that_others_can_open_is_not_used(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    folder.chmod(mode)
    (folder / "forged").write_text('{"id": "a"}')
    tasks = RunningTasks(folder)
    with caplog.at_level(logging.WARNING):
        tasks.record({"id": "a"})
    assert "not a private directory of this user" in caplog.text
    assert list(tasks.lost()) == []


def test_a_thread_that_ends_leaves_no_file_open(tmp_path: Path) -> None:
    tasks = RunningTasks(tmp_path / "tasks")

    def run() -> None:
        tasks.record({"id": "a"})
        tasks.clear()

    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert list(tasks.lost()) == []
    assert list((tmp_path / "tasks").iterdir()) == []


def test_a_task_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = RunningTasks(tmp_path / "tasks")
    with caplog.at_level(logging.WARNING):
        tasks.record({"id": object()})
    assert "the running task cannot be recorded" in caplog.text
    killed(tasks, "")
    assert list(tasks.lost()) == []


def test_a_file_that_is_no_record_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir(mode=0o700)
    (folder / "broken").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert list(RunningTasks(folder).lost()) == []
    assert "lost tasks cannot be looked for" in caplog.text
