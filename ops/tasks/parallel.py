"""Several processes of one command, each with a part of its work; for `replay` and `verify`.

Each process is a fork of the command, which saves the imports, and sends messages to the command
through a pipe. If one fails, all are ended, and the command fails with the same line as it would
with a single process. Ctrl-C is handled by the command alone, which then ends the others. Used by
`ops.tasks.replay.replay` and `ops.tasks.replay.verification`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import NamedTuple, TypeVar

from ops.errors import CommandError, line_for

T = TypeVar("T")
Send = Callable[[object], None]
Receive = Callable[[int, object], None]
"""Takes the index of a part and a message of its process."""

_FORK = multiprocessing.get_context("fork")


class _Ended(NamedTuple):
    """The last message of a process."""

    line: str | None = None
    """The error in one line; None if there is none, or if it is a defect."""
    trace: str | None = None
    """The traceback of a defect."""


def run_parts(parts: Sequence[T], work: Callable[[T, Send], None], receive: Receive) -> None:
    """Call `work` for each part in a separate process; a single part is done in this process.

    Connections and threads must not exist yet: a forked process would share them.

    Raises:
        CommandError: a process failed; the others were ended.
    """
    if len(parts) == 1:
        work(parts[0], lambda sent: receive(0, sent))
        return
    processes, pipes = list[ForkProcess](), list[Connection]()
    try:
        with _interrupts_held():
            for part in parts:
                reader, writer = _FORK.Pipe(duplex=False)
                pipes.append(reader)
                process = _FORK.Process(target=_work, args=(part, work, writer, tuple(pipes)))
                processes.append(process)
                process.start()
                writer.close()
        _receive_all(processes, pipes, receive)
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delay SIGINT, until the new processes have set it to be ignored."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _receive_all(
    processes: Sequence[ForkProcess], pipes: Sequence[Connection], receive: Receive
) -> None:
    working = dict(enumerate(pipes))
    while working:
        readable = wait(list(working.values()))
        for index in [index for index, pipe in working.items() if pipe in readable]:
            try:
                sent = pipes[index].recv()
            except EOFError:
                sent = _killed(processes[index])
            if not isinstance(sent, _Ended):
                receive(index, sent)
                continue
            del working[index]
            if sent.trace:
                raise RuntimeError(f"in one of its processes: {sent.trace}")
            if sent.line:
                raise CommandError(sent.line)


def _killed(process: ForkProcess) -> _Ended:
    process.join()
    return _Ended(
        f"one of its processes ended before its work was done (status {process.exitcode}): was it"
        " killed, or memory short? run it again, with fewer --processes"
    )


def _work(
    part: T, work: Callable[[T, Send], None], pipe: Connection, readers: Sequence[Connection]
) -> None:
    # Sending must fail once the command has ended, so this process must not hold the read ends.
    for reader in readers:
        reader.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        pipe.send(_attempt(part, work, pipe))
    except OSError:
        os._exit(1)  # the command has ended


def _attempt(part: T, work: Callable[[T, Send], None], pipe: Connection) -> _Ended:
    try:
        work(part, pipe.send)
    except Exception as error:
        line = line_for(error)
        if line is None:
            return _Ended(trace="".join(traceback.format_exception(error)))
        return _Ended(line)
    finally:
        sys.stdout.flush()
    return _Ended()
