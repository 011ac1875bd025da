"""What a reader must remember of a whole workbook: kept on disk, so that its memory stays flat.

A private SQLite database in a file that nobody else can open, with a few megabytes of cache.
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
    """Which row had a pair first, and a workbook's shared strings by number."""

    def __init__(self) -> None:
        # The empty name is a file that SQLite makes and unlinks; one transaction, never committed.
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def first_row(self, pair: str, row: int) -> int:
        """Give the row that came first with this pair; a new pair's is `row`."""
        added = self._database.execute(
            "INSERT INTO pairs VALUES (?, ?) ON CONFLICT DO NOTHING", (pair, row)
        )
        if added.rowcount:
            return row
        [first] = self._database.execute(
            "SELECT first_row FROM pairs WHERE pair = ?", (pair,)
        ).fetchone()
        return int(first)

    def keep_strings(self, strings: Iterable[str]) -> None:
        """Keep shared strings, numbered from 0."""
        self._database.executemany("INSERT INTO strings VALUES (?, ?)", enumerate(strings))

    def strings(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the strings of these numbers, as far as there are any."""
        wanted = orjson.dumps(list(numbers)).decode()
        return dict(
            self._database.execute(
                "SELECT number, text FROM strings JOIN json_each(?) ON number = value", (wanted,)
            )
        )
