"""A clean environment and resource limits for the processes that read untrusted files.

A child process started through `confined` gets its limits before its program runs:
`python confinement.py LIMIT=VALUE... -- PROGRAM ARGUMENT...` sets them and becomes the program.
Setting them between fork and exec instead is not safe in a process with threads. Used by
`workers.roster` and `workers.video.ffmpeg`.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MIB = 1024 * 1024

_PASSED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
"""Variables that a program needs to start. Passwords and keys are in other variables."""

_CPU_GRACE_SECONDS = 5
"""Processor time between the signal SIGXCPU and SIGKILL."""


@dataclass(frozen=True, slots=True)
class Caps:
    """The limits of one process; core dumps are always off."""

    memory_bytes: int
    """Address space; with `reserved_bytes`, only the memory that the process writes to."""
    cpu_seconds: int
    file_bytes: int
    """Size of each file that the process writes."""
    open_files: int = 128
    reserved_bytes: int = 0
    """Additional address space, which a program with many threads reserves but does not use."""


def clean_environ(*also: str) -> dict[str, str]:
    """Return the part of this process's environment that a child may see.

    `also` lists further variables to pass on.
    """
    return {name: os.environ[name] for name in (*_PASSED_VARIABLES, *also) if name in os.environ}


def confined(command: Sequence[str | Path], caps: Caps) -> list[str | Path]:
    """Return a command line that runs `command` within `caps`."""
    limits = (f"{name}={value}" for name, value in asdict(caps).items())
    # Isolated and without site-packages: a quick start that runs nothing but this file.
    return [sys.executable, "-I", "-S", __file__, *limits, "--", *command]


def confine(caps: Caps) -> None:
    """Limit this process permanently."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, caps.memory_bytes + caps.reserved_bytes)
    _limit(resource.RLIMIT_DATA, caps.memory_bytes)
    # At the hard limit the kernel sends SIGKILL; SIGXCPU at the soft limit can be recognized.
    _limit(resource.RLIMIT_CPU, caps.cpu_seconds, grace=_CPU_GRACE_SECONDS)
    _limit(resource.RLIMIT_FSIZE, caps.file_bytes)
    _limit(resource.RLIMIT_NOFILE, caps.open_files)


def _limit(what: int, most: int, *, grace: int = 0) -> None:
    """Lower a limit, unless it is lower already or the system does not support it."""
    _, hard = resource.getrlimit(what)
    ceiling = most + grace if hard == resource.RLIM_INFINITY else min(most + grace, hard)
    try:
        resource.setrlimit(what, (min(most, ceiling), ceiling))
    except (ValueError, OSError):  # macOS refuses limits of address space
        return


def _main(arguments: Sequence[str]) -> None:
    split = arguments.index("--")
    limits: Mapping[str, int] = {
        name: int(value) for name, _, value in (each.partition("=") for each in arguments[:split])
    }
    confine(Caps(**limits))
    program = list(arguments[split + 1 :])
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    _main(sys.argv[1:])
