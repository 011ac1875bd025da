"""Reading a workbook in a separate process, which writes the rows to a temporary file.

Used by `workers.roster.importer`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from workers.confinement import MIB, clean_environ
from workers.roster.errors import RosterError
from workers.roster.reader_process import CPU_SECONDS, MEMORY_BYTES, OUT_OF_MEMORY
from workers.roster.table.rows import Refused, Student

_READER = (sys.executable, "-P", "-m", "workers.roster.reader_process")
Tick = Callable[[int, int], None]
"""A function of two row numbers: of the row that is being checked, and of the last row."""


class Reading(NamedTuple):
    """A workbook that was read to its end."""

    digest: str
    """SHA-256 of the file."""
    sheet: str
    total: int
    """The number of rows, including the refused ones."""
    rows: Iterator[Student | Refused]


@contextmanager
def read_workbook(path: Path, tick: Tick = lambda _row, _last: None) -> Iterator[Reading]:
    """Read and check a workbook; its rows are in a temporary file, which is closed with the block.

    Raises:
        RosterError: the workbook cannot be imported.
    """
    with tempfile.TemporaryFile() as spool:
        found = _run_reader(path, spool, tick)
        yield Reading(found["digest"], found["sheet"], found["total"], _spooled(spool))


def _run_reader(path: Path, spool: BinaryIO, tick: Tick) -> Mapping[str, Any]:
    process = subprocess.Popen(  # noqa: S603 - this program's interpreter and module
        [*_READER, str(path.absolute()), str(spool.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[spool.fileno()],
        env=clean_environ("PYTHONPATH", "PYTHONHOME"),
    )
    try:
        with process:
            return _follow(process, tick)
    finally:
        process.kill()


def _follow(process: subprocess.Popen[bytes], tick: Tick) -> Mapping[str, Any]:
    last: Mapping[str, Any] = {}
    for line in process.stdout or ():
        last = orjson.loads(line)
        if last.get("step") == "checking":
            tick(last["row"], last["last_row"])
    status = process.wait()
    if "error" in last:
        raise RosterError(str(last["error"]), code=str(last["code"]))
    if status or "found" not in last:
        raise _crash(status)
    found: Mapping[str, Any] = last["found"]
    return found


def _crash(status: int) -> RosterError:
    """Return the error for a reader that ended with this status, and without a result."""
    if status in (OUT_OF_MEMORY, -signal.SIGABRT, -signal.SIGKILL):
        limit = MEMORY_BYTES // MIB
        return RosterError(f"needs more than {limit} MiB of memory to read", code="too_large")
    if status in (-signal.SIGXCPU, -signal.SIGXFSZ):
        return RosterError(f"takes more than {CPU_SECONDS} s to read", code="too_large")
    return RosterError("the file is damaged: its reader failed on it", code="damaged")


def _spooled(spool: BinaryIO) -> Iterator[Student | Refused]:
    """Yield the rows that the reader has written to the temporary file."""
    spool.seek(0)
    for line in spool:
        fields = orjson.loads(line)
        yield Student(*fields) if len(fields) == len(Student._fields) else Refused(*fields)
