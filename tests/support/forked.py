"""Commands as forks of one process that has loaded the command line, which begin at once.

Run as a program it serves that: it forks for each request on the socket that its argument names.
A fork is a process of its own like any other; it only needs no half a second for imports. Thorough
runs, and commands with an environment that matters before the imports, use a new interpreter.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from tests.support.commands import LOADED
from tests.support.thorough import THOROUGH
from tests.support.waiting import ENDING

TREE = Path(__file__).parents[2]
OURS = "JOBTRAIL_"
DEVNULL, PIPE = subprocess.DEVNULL, subprocess.PIPE


def begin(
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    code: str = "",
    stdin: int = DEVNULL,
    stderr: int = PIPE,
) -> subprocess.Popen[bytes]:
    """Start `jobtrail WORDS…`, or this code, in an environment; standard output is a pipe."""
    if THOROUGH or _others(environ) != _AT_START:
        return subprocess.Popen(
            [sys.executable, *(("-c", code) if code else ("-m", "ops")), *words],
            env=dict(environ),
            stdin=stdin,
            stdout=PIPE,
            stderr=stderr,
        )
    return Forked((code, *words), environ, stdin, stderr)


def run(
    words: Sequence[str], environ: Mapping[str, str], stdin: bytes = b"", timeout: float = ENDING
) -> subprocess.CompletedProcess[bytes]:
    """Run `jobtrail WORDS…` to its end, and return its outcome."""
    with begin(words, environ, stdin=PIPE) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        finally:
            process.kill()  # which does nothing to one that has ended
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _others(environ: Mapping[str, str]) -> dict[str, str]:
    changing = ("PYTEST_CURRENT_TEST", "COLUMNS", "LINES")
    return {
        name: text
        for name, text in environ.items()
        if not name.startswith(OURS) and name not in changing
    }


_AT_START = _others(os.environ)
"""The environment of the process that forks, whatever a test has changed since."""


class Forked(subprocess.Popen[bytes]):
    """A command that was forked; its parent is not this process, but tells its end."""

    def __init__(
        self, words: tuple[str, ...], environ: Mapping[str, str], stdin: int, stderr: int
    ) -> None:
        self.args = list(words)
        self.returncode = None
        self._child_created = False  # nothing is to be collected by this process
        self._outputs: dict[str, bytes] = {}
        self._copiers: list[threading.Thread] = []
        modes = {"stdin": (stdin, "wb"), "stdout": (PIPE, "rb"), "stderr": (stderr, "rb")}
        theirs = []
        for name, (kind, mode) in modes.items():
            ours, other = _stream(kind, mode)
            setattr(self, name, ours)
            theirs.append(other)
        self._control, answers = socket.socketpair()
        socket.send_fds(_server(), [b"."], [*theirs, answers.fileno()])
        for number in theirs:
            os.close(number)
        answers.close()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        request = json.dumps([list(words), dict(environ), str(Path.cwd()), limits])
        self._control.sendall(f"{request}\n".encode())
        self.pid = int(_line(self._control))

    def poll(self) -> int | None:
        """Return the exit status, or None while the command runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the command ends."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and _readable(self._control, timeout):
            line = _line(self._control)
            self._control.close()
            self.returncode = int(line)
        found: int | None = self.returncode
        return found

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the command has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def communicate(
        self,
        input: bytes | None = None,  # noqa: A002 - as the class that this replaces names it
        timeout: float | None = None,
    ) -> tuple[bytes, bytes]:
        """Write the input, read all output, and wait until the command ends."""
        if not self._copiers:
            self._copiers = [
                threading.Thread(target=self._write, args=(input or b"",), daemon=True),
                *(
                    threading.Thread(target=self._read, args=(name,), daemon=True)
                    for name in ("stdout", "stderr")
                ),
            ]
            for copier in self._copiers:
                copier.start()
        self.wait(timeout)
        for copier in self._copiers:
            copier.join(timeout)
        return self._outputs["stdout"], self._outputs["stderr"]

    def _write(self, text: bytes) -> None:
        if self.stdin is not None:
            try:
                self.stdin.write(text)
                self.stdin.close()
            except BrokenPipeError:
                pass

    def _read(self, name: str) -> None:
        stream: IO[bytes] | None = getattr(self, name)
        self._outputs[name] = b"" if stream is None else stream.read()
        if stream is not None:
            stream.close()


def _stream(kind: int, mode: str) -> tuple[IO[bytes] | None, int]:
    """Return our end of a standard stream, and the descriptor of the command's end."""
    if kind == DEVNULL:
        return None, os.open(os.devnull, os.O_RDWR)
    read, write = os.pipe()
    ours, theirs = (write, read) if mode == "wb" else (read, write)
    return os.fdopen(ours, mode), theirs


def _readable(control: socket.socket, timeout: float | None) -> bool:
    control.settimeout(timeout)
    try:
        control.recv(1, socket.MSG_PEEK)
    except (TimeoutError, BlockingIOError):
        return False
    finally:
        control.settimeout(None)
    return True


def _line(control: socket.socket) -> bytes:
    """Read one line, and nothing after it, which `_readable` has to see."""
    line = b""
    while not line.endswith(b"\n") and (byte := control.recv(1)):
        line += byte
    return line


@cache
def _server() -> socket.socket:
    """Start the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())],
        cwd=TREE,
        env=_AT_START,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(ENDING)

    atexit.register(end)
    return ours


def _serve(requests: socket.socket) -> list[str] | None:
    """Fork for each request; return in a command's process with its words, or None in the end."""
    commands = import_module("ops.commands").COMMANDS.values()
    for name in (*LOADED, "api.server", *(entry.module for entry in commands)):
        import_module(name)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the parents of commands
    while True:
        data, numbers, _, _ = socket.recv_fds(requests, 1, 4)
        if not data:
            return None
        if os.fork() == 0:
            requests.close()
            return _fork_command(numbers)
        for number in numbers:
            os.close(number)


def _fork_command(numbers: list[int]) -> list[str]:
    """Fork a command and tell its end; return in its process."""
    *streams, control = numbers
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with os.fdopen(os.dup(control)) as lines:
        request = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        os.close(control)
        return _become(request, streams)
    for number in (*streams, 0, 1, 2):
        os.close(number)
    os.write(control, f"{pid}\n".encode())
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    try:
        os.write(control, f"{status}\n".encode())
        os.read(control, 1)  # until the status was taken: so long no other process gets this id
        os.waitpid(pid, 0)
    finally:
        os._exit(0)


def _become(request: Any, streams: list[int]) -> list[str]:
    words, environ, folder, limits = request
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # The objects of the interpreter's start remember whether their streams could seek.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        new = os.fdopen(
            number,
            "r" if name == "stdin" else "w",
            buffering=1 if name == "stderr" else -1,
            encoding=old.encoding,
            errors=old.errors,
            closefd=False,
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_NOFILE, tuple(limits))
    found: list[str] = words
    return found


if __name__ == "__main__":
    arguments = _serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is not None:
        code, *words = arguments
        sys.argv = ["-c" if code else str(TREE / "ops" / "__main__.py"), *words]
        if code:
            exec(code, {"__name__": "__main__"})
        else:
            import_module("jobtrail_command").main()
