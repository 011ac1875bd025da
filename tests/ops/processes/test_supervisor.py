from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.processes.child import Child
from ops.processes.supervisor import Supervisor, next_delay
from tests.support.processes import descendants, runs
from tests.support.waiting import ENDING, eventually

ROOT = Path(__file__).parents[3]
SLEEP = "exec sleep 600"


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def announcing(file: Path, then: str = SLEEP) -> list[str]:
    """Return a command that appends its process id to a file, then runs the script."""
    return shell(f"echo $$ >> {shlex.quote(str(file))}; {then}")


def quoted(folder: Path) -> str:
    """Return the path of the folder's file `pids`, quoted for a shell."""
    return shlex.quote(str(folder / "pids"))


def pids(file: Path, at_least: int = 1) -> list[int]:
    """Wait until the file has `count` process ids, and return them."""

    def announced() -> list[int]:
        found = [int(line) for line in file.read_text().split()] if file.exists() else []
        return found if len(found) >= at_least else []

    return eventually(announced, what=f"{at_least} process ids in {file.name}")


@contextmanager
def running(supervisor: Supervisor) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """Fail the test if this process keeps more descendants after it than before.

    A server of other tests may start a short-lived process meanwhile, such as one of autovacuum.
    """
    before = descendants(os.getpid())
    yield
    eventually(lambda: descendants(os.getpid()) <= before)


def test_child_that_dies_is_started_again(tmp_path: Path, leaves_nothing: None) -> None:
    supervisor = Supervisor()
    supervisor.add("worker", announcing(tmp_path / "pids"))
    with running(supervisor):
        (first,) = pids(tmp_path / "pids")
        os.kill(first, signal.SIGKILL)
        second = pids(tmp_path / "pids", at_least=2)[1]
        assert second != first
        assert runs(second)


def test_child_that_cannot_start_does_not_stop_the_others(
    tmp_path: Path, leaves_nothing: None
) -> None:
    supervisor = Supervisor()
    supervisor.add("missing", [str(tmp_path / "no-such-program")])
    supervisor.add("failing", announcing(tmp_path / "failing", "exit 3"))
    supervisor.add("worker", announcing(tmp_path / "pids"))
    with running(supervisor):
        pids(tmp_path / "failing", at_least=3)
        (worker,) = pids(tmp_path / "pids")
        assert runs(worker)


def test_stop_ends_every_child_and_starts_none_again(tmp_path: Path, leaves_nothing: None) -> None:
    supervisor = Supervisor()
    for name in ("first", "second"):
        supervisor.add(name, announcing(tmp_path / name))
    with running(supervisor):
        for name in ("first", "second"):
            pids(tmp_path / name)
    for name in ("first", "second"):
        (pid,) = pids(tmp_path / name)
        assert not runs(pid)


def test_stop_asks_the_last_added_first(
    tmp_path: Path, leaves_nothing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask_to_stop = Child.ask_to_stop

    def recording(child: Child) -> None:
        asked.append(child.pid)
        ask_to_stop(child)

    monkeypatch.setattr(Child, "ask_to_stop", recording)
    supervisor = Supervisor()
    for name in ("first", "second"):
        supervisor.add(name, announcing(tmp_path / name))
    with running(supervisor):
        first, second = pids(tmp_path / "first") + pids(tmp_path / "second")
    assert asked == [second, first]


def test_child_that_ignores_the_request_is_killed_after_the_grace(
    tmp_path: Path, leaves_nothing: None
) -> None:
    supervisor = Supervisor(grace=0.1)
    stubborn = shell(f"trap '' TERM; echo $$ > {quoted(tmp_path)}; while :; do sleep 600; done")
    supervisor.add("stubborn", stubborn)
    with running(supervisor):
        (pid,) = pids(tmp_path / "pids")
    assert not runs(pid)


def test_what_a_dead_child_left_behind_is_ended(tmp_path: Path, leaves_nothing: None) -> None:
    """A child that is killed cannot end its own children."""
    supervisor = Supervisor()
    supervisor.add("parent", shell(f"sleep 600 & echo $! >> {quoted(tmp_path)}; wait"))
    with running(supervisor) as stop:
        (grandchild,) = pids(tmp_path / "pids")
        parent = next(iter(parents_of(grandchild)))
        os.kill(parent, signal.SIGKILL)
        eventually(lambda: not runs(grandchild), what="the end of the grandchild")
        stop.set()


def parents_of(pid: int) -> set[int]:
    """Return the descendants of this process that have the process as a descendant."""
    return {child for child in descendants(os.getpid()) if pid in descendants(child)}


def test_child_has_the_environment_given_and_our_standard_error(
    tmp_path: Path, leaves_nothing: None, capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor()
    script = f'echo "$WORD"; echo $$ >> {quoted(tmp_path)}; {SLEEP}'
    supervisor.add("worker", shell(script), {**os.environ, "WORD": "hello"})
    with running(supervisor):
        pids(tmp_path / "pids")
    said = capfd.readouterr()
    assert said.err == "hello\n"
    assert "hello" not in said.out


SUPERVISING = """
import sys, threading
from ops.processes.supervisor import Supervisor

supervisor = Supervisor()
for index, script in enumerate(sys.argv[1:]):
    supervisor.add(str(index), ["/bin/sh", "-c", script])
# Not the main thread: children must not depend on the thread that started them either.
thread = threading.Thread(target=supervisor.run, args=(threading.Event(),))
thread.start()
thread.join()
"""


def test_supervisor_killed_leaves_no_child(tmp_path: Path) -> None:
    """After kill -9 of the supervisor all its descendants end, also those that ignore SIGTERM."""
    file = quoted(tmp_path)
    stubborn = f"trap '' TERM; echo $$ >> {file}; while :; do sleep 600; done"
    willing = f"echo $$ >> {file}; {SLEEP}"
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISING, stubborn, willing], cwd=ROOT)
    try:
        children = pids(tmp_path / "pids", at_least=2)
        everything = eventually(lambda: descendants(supervisor.pid))
        assert set(children) <= everything
    finally:
        supervisor.kill()
        supervisor.wait()
    eventually(
        lambda: not any(runs(pid) for pid in everything), timeout=20, what="the end of all children"
    )


def test_child_is_out_of_reach_of_the_terminal() -> None:
    child = Child(shell(SLEEP))
    assert os.getsid(child.pid) == child.pid
    child.kill()
    assert child.poll() == -signal.SIGKILL


def test_child_tells_its_exit_status() -> None:
    child = Child(shell("exit 7"))
    assert child.wait(ENDING)
    assert child.poll() == 7
    child.stop()


def test_delay_doubles_up_to_five_seconds_and_starts_over_after_a_steady_life() -> None:
    delays = [0.0]
    for _ in range(7):
        delays.append(next_delay(delays[-1], lived=0.1))
    assert delays[1:] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert next_delay(5.0, lived=10.0) == 0.2
