"""Child processes that never outlive this process.

A *child* runs in a separate session, so that a terminal's Ctrl-C does not reach it. Each child
has a *guard*: a shell that reads from a pipe whose other end is open in this process only. However
this process ends, kill -9 included, the kernel closes the pipe, and the guard ends the child.

PR_SET_PDEATHSIG would need no second process, but it is Linux only, needs code between fork and
exec, which is unsafe beside threads, and fires when the *thread* that started the child ends. Used
by `ops.devstack.server`, `ops.processes.supervisor` and `ops.tasks.up`.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ops.processes.process_tree import descendants, signal_each

GRACE = 10.0
"""Seconds between the signal that asks a child to end and SIGKILL."""

STANDARD_ERROR = 2

# The child waits for one line before it starts the command: where this process is killed before the
# guard runs, the line never comes, and the command is never started.
_CHILD = 'read -r go && exec "$@" </dev/null'

# $1 is the process id, $2 the name of the signal that asks it to end. The `read` returns when this
# process's end of the pipe is closed. After 5 s, the rest of the child's process group is killed.
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

    Its standard input is empty; standard output and error go to the file descriptor `output`. Once
    it has ended, the rest of its process group is killed.
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
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - starting given commands is its job
                ["/bin/sh", "-c", _CHILD, "sh", *argv],
                stdin=read_end,
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
            self._start_guard()
            with suppress(BrokenPipeError):
                os.write(write_end, b"\n")
        finally:
            os.close(read_end)
            os.close(write_end)

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal that ended it), or None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._clean_up()
        return status

    def ask_to_stop(self) -> None:
        """Send the signal that asks it to end, and return without waiting.

        It and its descendants are continued if they are suspended, or they would not receive it.
        """
        self._process.send_signal(self._stop_signal)
        if self._process.returncode is None:
            signal_each([self.pid, *descendants(self.pid)], signal.SIGCONT)

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the end; return True if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(timeout, 0))
        return self.poll() is not None

    def stop(self, grace: float = GRACE) -> None:
        """Ask it to end, and kill it if it has not ended within `grace` seconds."""
        self.ask_to_stop()
        if not self.wait(grace):
            self.kill()

    def kill(self) -> None:
        """Kill it and all its descendants."""
        if self.poll() is None:
            others = descendants(self.pid)
            self._kill_group()
            signal_each(others, signal.SIGKILL)
            self._process.wait()
            self._clean_up()

    def _start_guard(self) -> None:
        read_end, self._guard_pipe = os.pipe()
        try:
            self._guard = subprocess.Popen(  # noqa: S603 - a constant script
                ["/bin/sh", "-c", _GUARD, "sh", str(self.pid), self._stop_signal.name[3:]],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin"},  # for `sleep`, whatever PATH this process has
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(read_end)

    def _kill_group(self) -> None:
        # macOS answers "not permitted" for a group of which only a zombie is left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _clean_up(self) -> None:
        """Kill the rest of the process group and the guard, once the child has ended."""
        if self._guard.returncode is None:
            self._kill_group()
            self._guard.kill()
            self._guard.wait()
            os.close(self._guard_pipe)
