"""Data on a whole workbook that the reader keeps on disk, so that its memory does not grow.

A private SQLite database in an unlinked file, with a few megabytes of cache. Used by
`workers.roster.reader_process` and `workers.roster.xlsx.workbook`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import orjson

_CACHE_KIB = 4_096
_TABLES = """
CREATE TABLE pairs (pair TEXT PRIMARY KEY, first_row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE strings (number INTEGER PRIMARY KEY, text TEXT NOT NULL);
"""


class Scratch:
    """The first row of each pair, and the shared strings of a workbook by number."""

    def __init__(self) -> None:
        # The empty name is a temporary file that SQLite unlinks; one transaction, never committed.
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def first_row(self, pair: str, row: int) -> int:
        """Return the first row with this pair; for a new pair this is `row`."""
        added = self._database.execute(
            "INSERT INTO pairs VALUES (?, ?) ON CONFLICT DO NOTHING", (pair, row)
        )
        if added.rowcount:
            return row
        [first] = self._database.execute(
            "SELECT first_row FROM pairs WHERE pair = ?", (pair,)
        ).fetchone()
        return int(first)

    def add_strings(self, strings: Iterable[str]) -> None:
        """Store shared strings, numbered from 0."""
        self._database.executemany("INSERT INTO strings VALUES (?, ?)", enumerate(strings))

    def strings(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the strings with these numbers; missing ones are omitted."""
        wanted = orjson.dumps(list(numbers)).decode()
        return dict(
            self._database.execute(
                "SELECT number, text FROM strings JOIN json_each(?) ON number = value", (wanted,)
            )
        )
