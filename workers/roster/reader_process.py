"""The process that reads a workbook: `python -m workers.roster.reader_process FILE SPOOL_FD`.

It is started without secrets, limits its own memory and time before it looks at the file, and ends.
To standard output it writes JSON lines: how far it is, and at last what it found or the error. To
the spool it writes a JSON array a row, a Student or a Refused.
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
"""Address space of the process; no ordinary workbook comes near it."""

CPU_SECONDS = 120
SPOOL_BYTES = 1024 * MIB
OUT_OF_MEMORY = 77
"""The exit status that says so, where it could still be said."""

_TICK_ROWS = 500


def main() -> int:
    """Read one workbook; give the exit status."""
    confine(Caps(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, file_bytes=SPOOL_BYTES))
    path, spool_fd = Path(sys.argv[1]), int(sys.argv[2])
    try:
        with os.fdopen(spool_fd, "wb") as spool:
            _say({"found": _read(path, spool)})
    except RosterError as error:
        _say({"error": str(error), "code": error.code})
    except (OSError, sqlite3.Error):
        _say({"error": "needs more room for temporary files than there is", "code": "unreadable"})
    except MemoryError:
        return OUT_OF_MEMORY
    return 0


def _read(path: Path, spool: BinaryIO) -> dict[str, Any]:
    _say({"step": "reading"})
    digest = inspect(path)
    scratch = Scratch()
    with Workbook(path, scratch) as workbook:
        return {"digest": digest, **_check(open_table(workbook), scratch, spool)}


def _check(table: Table, scratch: Scratch, spool: BinaryIO) -> dict[str, Any]:
    total = students = 0
    for checked in check_all(table.rows, scratch):
        if total % _TICK_ROWS == 0:
            _say({"step": "checking", "row": checked.row, "last_row": table.last_row})
        total += 1
        students += isinstance(checked, Student)
        spool.write(orjson.dumps(tuple(checked)) + b"\n")
    return {"sheet": table.sheet, "total": total, "students": students}


def check_all(rows: Iterator[TextRow], scratch: Scratch) -> Iterator[Student | Refused]:
    """Apply the rules to all rows; of rows with the same pair the first one counts."""
    for row in rows:
        checked = check_row(row.number, row.texts)
        if isinstance(checked, Student):
            first = scratch.first_row(checked.parent_phone + checked.name, checked.row)
            if first != checked.row:
                error = f"{first}행과 이름, 학부모 전화번호가 같습니다."
                checked = Refused(checked.row, checked.name, error)
        yield checked


def _say(what: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
