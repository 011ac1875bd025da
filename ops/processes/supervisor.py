"""Child processes that are kept alive while wanted and never outlive this process.

A *child* is a process of its own session (a terminal's Ctrl-C does not reach it) with a *guard*
beside it: a sleeping shell that holds the read end of a pipe whose other end is in this process.
However this process ends, kill -9 included, the kernel closes the pipe; the guard wakes and ends
the child. PR_SET_PDEATHSIG would need no second process, but it is Linux only, wants code between
fork and exec (unsafe beside threads), and fires when the *thread* that started the child ends.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from ops.processes.process_tree import descendants, signal_each

log = structlog.get_logger(__name__)

GRACE = 10.0
"""Seconds that children have to end after being told to, before they are killed."""

FIRST_DELAY = 0.2
"""Seconds before a child that died is started again; doubled at each death, up to `LAST_DELAY`."""

LAST_DELAY = 5.0
STEADY = 10.0
"""A child that lived for so many seconds starts over at `FIRST_DELAY`."""

TICK = 0.05
"""Seconds between two looks at the children."""

STANDARD_ERROR = 2

# The child waits for one line before it becomes what it is meant to be: should this process be
# killed before the guard stands, the line never comes, and nothing was started.
_CHILD = 'read -r go && exec "$@" </dev/null'

# $1 process id, $2 name of the signal that asks it to end. The `read` ends when our end of the pipe
# is closed. After 5 s, whatever is left of the child's process group is killed.
_GUARD = """
trap '' HUP INT QUIT TERM
read -r nothing
kill -s "$2" "$1"
kill -s CONT -- "-$1"
tries=0
while [ "$tries" -lt 50 ] && kill -0 "$1"; do sleep 0.1; tries=$((tries + 1)); done
kill -s KILL -- "-$1"
"""


class Child:
    """A running command that ends at the latest with this process.

    Its standard input is empty; both its outputs go to the file descriptor `output`. When it has
    ended, what remains of its process group is killed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: pwd.struct_passwd | None = None,
        umask: int = -1,
        output: int = STANDARD_ERROR,
        pass_fds: Sequence[int] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._stop_signal = stop_signal
        theirs, ours = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - starting given commands is its job
                ["/bin/sh", "-c", _CHILD, "sh", *argv],
                stdin=theirs,
                stdout=output,
                stderr=output,
                env=env,
                cwd=cwd,
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
                umask=umask,
                pass_fds=pass_fds,
                start_new_session=True,
            )
            self._stand_guard()
            with suppress(BrokenPipeError):
                os.write(ours, b"\n")
        finally:
            os.close(theirs)
            os.close(ours)

    @property
    def pid(self) -> int:
        """Process id, also after the end."""
        return self._process.pid

    def poll(self) -> int | None:
        """Give the exit status (negative: the signal that ended it), or None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._clean_up()
        return status

    def ask_to_stop(self) -> None:
        """Send the signal that asks it to end; it may take its time.

        Where it or a process of its is suspended, it goes on: else it would never see the signal.
        """
        self._process.send_signal(self._stop_signal)
        if self._process.returncode is None:
            signal_each([self.pid, *descendants(self.pid)], signal.SIGCONT)

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the end, and tell whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(timeout, 0))
        return self.poll() is not None

    def stop(self, grace: float = GRACE) -> None:
        """Ask it to end, and kill it where it has not within `grace` seconds."""
        self.ask_to_stop()
        if not self.wait(grace):
            self.kill()

    def kill(self) -> None:
        """End it and all its processes at once."""
        if self.poll() is None:
            others = descendants(self.pid)
            self._kill_group()
            signal_each(others, signal.SIGKILL)
            self._process.wait()
            self._clean_up()

    def _stand_guard(self) -> None:
        theirs, self._tie = os.pipe()
        try:
            self._guard = subprocess.Popen(  # noqa: S603 - a constant script
                ["/bin/sh", "-c", _GUARD, "sh", str(self.pid), self._stop_signal.name[3:]],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin"},  # `sleep`, whatever PATH this process has
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    def _kill_group(self) -> None:
        # macOS answers "not permitted" for a group of which only a zombie is left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _clean_up(self) -> None:
        """Once it has ended: end what it left behind and dismiss the guard."""
        if self._guard.returncode is None:
            self._kill_group()
            self._guard.kill()
            self._guard.wait()
            os.close(self._tie)


class _Service:
    """A command that is to run, the child that runs it, and when to try again."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
        self.name, self._argv, self._env = name, tuple(argv), env
        self.child: Child | None = None
        self._delay = 0.0
        self._started_at = self._start_at = float("-inf")

    def keep_running(self, now: float) -> None:
        """Start it where it does not run and its time has come; `now` is in seconds."""
        if self.child is not None:
            self._see_death(self.child, now)
        elif now >= self._start_at:
            self.child = Child(self._argv, env=self._env)
            self._started_at = now
            log.info("child started", name=self.name, pid=self.child.pid)

    def _see_death(self, child: Child, now: float) -> None:
        status = child.poll()
        if status is None:
            return
        self.child = None
        self._delay = next_delay(self._delay, lived=now - self._started_at)
        self._start_at = now + self._delay
        log.warning("child died", name=self.name, exit_status=status, restart_in=self._delay)


def next_delay(delay: float, *, lived: float) -> float:
    """Give the seconds until the next start, after the former delay and a life of `lived` s."""
    return FIRST_DELAY if delay == 0 or lived >= STEADY else min(delay * 2, LAST_DELAY)


class Supervisor:
    """Runs named commands, starts those that die again, and stops all together."""

    def __init__(self, *, grace: float = GRACE) -> None:
        self._grace = grace
        self._services: list[_Service] = []

    def add(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Add a command, before `run`; without `env` it has this process's environment."""
        self._services.append(_Service(name, argv, env))

    def run(self, stop: threading.Event) -> None:
        """Keep all running until `stop` is set; return once all have ended."""
        try:
            while not stop.is_set():
                for service in self._services:
                    service.keep_running(time.monotonic())
                stop.wait(TICK)
        finally:
            self._stop_all()

    def _stop_all(self) -> None:
        """Ask the last added first; those still there after the grace are killed."""
        running = [
            (service.name, service.child)
            for service in reversed(self._services)
            if service.child is not None
        ]
        for _, child in running:
            child.ask_to_stop()
        deadline = time.monotonic() + self._grace
        for name, child in running:
            if not child.wait(deadline - time.monotonic()):
                log.warning("child killed", name=name, pid=child.pid, grace=self._grace)
                child.kill()
