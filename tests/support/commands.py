"""Many commands at once, from one process that loads the command line once and forks for each.

Run as a program it reads a `Request` from standard input and writes the outcomes to its output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

LOADED = (
    "ops.cli ops.outside_errors consumers.chores.retention.registration workers.roster.importer"
    " workers.video.encoder"
).split()
CRASHED = 70


class Request(NamedTuple):
    """The commands to run by name, and values for attributes (`module:attribute`)."""

    commands: Mapping[str, Sequence[str]]
    stdin: str
    """A file that each reads as its standard input."""
    attributes: Mapping[str, float]
    seconds: float
    """The time limit for all together; commands that run on are killed."""


class Outcome(NamedTuple):
    """The result of a command."""

    status: int | None
    """None where it had to be killed."""
    out: str
    err: str


def run_all(request: Request, settings: Mapping[str, str]) -> dict[str, Outcome]:
    """Run the commands side by side with settings, and return their outcomes by name."""
    environ = os.environ | {f"JOBTRAIL_{name.upper()}": text for name, text in settings.items()}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.commands"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        env=environ,
        check=True,
        text=True,
    )
    return {name: Outcome(*outcome) for name, outcome in json.loads(done.stdout).items()}


def _main() -> None:
    request = Request(*json.load(sys.stdin))
    commands = import_module("ops.commands").COMMANDS.values()
    for name in (*LOADED, *(entry.module for entry in commands)):
        import_module(name)
    for path, value in request.attributes.items():
        module, _, attribute = path.partition(":")
        target: Any = import_module(module)
        *names, last = attribute.split(".")
        for name in names:
            target = getattr(target, name)
        if isinstance(target, dict):
            target[last] = value
        else:
            setattr(target, last, value)
    with tempfile.TemporaryDirectory() as folder:
        pids = {
            name: _fork(words, request.stdin, Path(folder) / str(number))
            for number, (name, words) in enumerate(request.commands.items())
        }
        deadline = time.monotonic() + request.seconds
        statuses = {name: _wait(pid, deadline) for name, pid in pids.items()}
        outcomes = {
            name: (
                statuses[name],
                (Path(folder) / f"{number}.out").read_text(),
                (Path(folder) / f"{number}.err").read_text(),
            )
            for number, name in enumerate(pids)
        }
    sys.stdout.write(json.dumps(outcomes))


def _fork(words: Sequence[str], stdin: str, file: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = CRASHED
    try:
        for number, path, flags in (
            (0, stdin, os.O_RDONLY),
            (1, f"{file}.out", os.O_WRONLY | os.O_CREAT),
            (2, f"{file}.err", os.O_WRONLY | os.O_CREAT),
        ):
            os.dup2(os.open(path, flags), number)
        sys.argv = ["jobtrail", *words]
        import_module("ops.cli").main()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(pid: int, deadline: float) -> int | None:
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.02)


if __name__ == "__main__":
    _main()
