"""Records of running tasks, and the processes that are killed while they run them."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
from pathlib import Path

import pytest

from streams.integrations.running_tasks import RunningTasks


def killed(tasks: RunningTasks, *records: str, cleared: str = "") -> None:
    """Run a process that records tasks, and is killed while it runs them."""
    child = os.fork()
    if child == 0:
        for record in records:
            tasks.record({"id": record})
        tasks.clear(cleared)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_task_is_lost_once_if_its_process_was_killed(tmp_path: Path) -> None:
    tasks = RunningTasks(tmp_path / "tasks")
    tasks.record({"id": "here"})
    killed(tasks, "a longer name", "b", cleared="a longer name")
    killed(tasks, "c", cleared="c")
    assert list(tasks.lost()) == [{"id": "b"}]
    assert list(tasks.lost()) == []
    assert len(list((tmp_path / "tasks").iterdir())) == 1


def test_a_task_that_runs_another_in_place_is_lost_with_it(tmp_path: Path) -> None:
    tasks = RunningTasks(tmp_path / "tasks")
    killed(tasks, "outer", "inner")
    assert list(tasks.lost()) == [{"id": "outer"}, {"id": "inner"}]
    killed(tasks, "outer", "inner", cleared="inner")
    assert list(tasks.lost()) == [{"id": "outer"}]
    killed(tasks, "outer", "inner", cleared="outer")  # coroutines end in any order
    assert list(tasks.lost()) == [{"id": "inner"}]


def test_a_task_that_runs_again_is_not_lost(tmp_path: Path) -> None:
    tasks = RunningTasks(tmp_path / "tasks")
    killed(tasks, "a", "b")
    tasks.record({"id": "a"})
    assert list(tasks.lost()) == [{"id": "b"}]
    tasks.clear("a")
    assert list(tasks.lost()) == []


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
        tasks.clear("a")

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
    killed(tasks)
    assert list(tasks.lost()) == []


def test_a_file_that_is_no_record_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir(mode=0o700)
    (folder / "broken").write_text("{")
    with caplog.at_level(logging.WARNING):
        killed(RunningTasks(folder), "a")
        assert list(RunningTasks(folder).lost()) == [{"id": "a"}]
    assert "lost tasks cannot be looked for" in caplog.text


def test_a_file_that_is_being_written_is_no_lost_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader that comes after the shorter text, and before the rest is cut off."""
    tasks = RunningTasks(tmp_path / "tasks")
    killed(tasks, "a", "b")
    tasks.record({"id": "a"})
    tasks.record({"id": "one with a longer name"})
    found: list[dict[str, str]] = []

    def read(file: int, length: int) -> None:
        found.extend(tasks.lost())
        truncate(file, length)

    truncate = os.ftruncate
    monkeypatch.setattr(os, "ftruncate", read)
    tasks.clear("one with a longer name")
    assert found == [{"id": "b"}]
    assert caplog.messages == []


def test_a_process_that_is_killed_while_it_writes_loses_no_task(tmp_path: Path) -> None:
    tasks = RunningTasks(tmp_path / "tasks")
    child = os.fork()
    if child == 0:
        tasks.record({"id": "a"})
        tasks.record({"id": "one with a longer name"})
        os.ftruncate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        tasks.clear("one with a longer name")
        os._exit(1)
    os.waitpid(child, 0)
    assert list(tasks.lost()) == [{"id": "a"}]


def test_a_text_that_is_half_written_is_read_again(tmp_path: Path) -> None:
    """As a reader may find it while a text of several pages is written."""
    folder = tmp_path / "tasks"
    tasks = RunningTasks(folder)
    killed(tasks, "a", "b")
    file = folder / "written"
    file.write_text('[{"id": "a"}, {"id')
    with file.open() as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        complete = threading.Timer(0.001, file.write_text, ['[{"id": "a"}]\n'])
        complete.start()
        assert list(tasks.lost()) == [{"id": "b"}]
