"""The process that reads a workbook: `python -m workers.roster.reader_process FILE SPOOL_FD`.

The process limits its own memory and time before it opens the file. It writes JSON lines to
standard output: its progress, then the result or the error. To the spool file it writes one JSON
array per row, with the fields of a Student or of a Refused. Used by `workers.roster.reader_client`,
which starts it without secrets.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from workers.confinement import MIB, Caps, confine
from workers.roster.errors import RosterError
from workers.roster.table.rows import Refused, Student, check_row
from workers.roster.table.sheets import Table, TextRow, open_table
from workers.roster.xlsx.package import inspect
from workers.roster.xlsx.scratch import Scratch
from workers.roster.xlsx.workbook import Workbook

MEMORY_BYTES = 1024 * MIB
"""The limit on the address space; ordinary workbooks need far less."""

CPU_SECONDS = 120
SPOOL_BYTES = 1024 * MIB
OUT_OF_MEMORY = 77
"""The exit status after a MemoryError."""

_TICK_ROWS = 500


def main() -> int:
    """Read one workbook, and return the exit status."""
    confine(Caps(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, file_bytes=SPOOL_BYTES))
    path, spool_fd = Path(sys.argv[1]), int(sys.argv[2])
    try:
        with os.fdopen(spool_fd, "wb") as spool:
            _send({"found": _read(path, spool)})
    except RosterError as error:
        _send({"error": str(error), "code": error.code})
    except (OSError, sqlite3.Error):
        _send({"error": "needs more room for temporary files than there is", "code": "unreadable"})
    except MemoryError:
        return OUT_OF_MEMORY
    return 0


def _read(path: Path, spool: BinaryIO) -> dict[str, Any]:
    _send({"step": "reading"})
    digest = inspect(path)
    scratch = Scratch()
    with Workbook(path, scratch) as workbook:
        return {"digest": digest, **_check(open_table(workbook), scratch, spool)}


def _check(table: Table, scratch: Scratch, spool: BinaryIO) -> dict[str, Any]:
    total = students = 0
    for checked in check_all(table.rows, scratch):
        if total % _TICK_ROWS == 0:
            _send({"step": "checking", "row": checked.row, "last_row": table.last_row})
        total += 1
        students += isinstance(checked, Student)
        spool.write(orjson.dumps(tuple(checked)) + b"\n")
    return {"sheet": table.sheet, "total": total, "students": students}


def check_all(rows: Iterator[TextRow], scratch: Scratch) -> Iterator[Student | Refused]:
    """Yield each row as a student or a refusal; a repeated pair of an earlier row is refused."""
    for row in rows:
        checked = check_row(row.number, row.texts)
        if isinstance(checked, Student):
            first = scratch.first_row(checked.parent_phone + checked.name, checked.row)
            if first != checked.row:
                error = f"{first}행과 이름, 학부모 전화번호가 같습니다."
                checked = Refused(checked.row, checked.name, error)
        yield checked


def _send(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
