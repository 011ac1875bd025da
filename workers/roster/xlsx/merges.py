"""Vertically merged cells: each row of the range has the value, as siblings share a phone.

Used by `workers.roster.table.sheets`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import attrgetter

from workers.roster.xlsx.workbook import Texts
from workers.roster.xlsx.worksheet import Merge


class MergedDown:
    """The merged values of the columns of a table, row by row from the top.

    Ranges that start at the header or above it are ignored. In a range over several columns, only
    the first column has the value: a school that is merged into the phone column is not a phone.
    """

    def __init__(self, merges: Iterable[Merge], *, below: int, columns: Iterable[int]) -> None:
        wanted = frozenset(columns)
        found = (
            merge for merge in merges if merge.bottom > merge.top > below and merge.left in wanted
        )
        self._coming = deque(sorted(found, key=attrgetter("top")))
        self._open: dict[int, tuple[Merge, str]] = {}
        """By column: the last range and its value."""

    def of(self, number: int, texts: Texts) -> tuple[Texts, Texts]:
        """Return the texts of the row's own cells, and those that are merged into it from above.

        The content of a covered cell is not visible in the spreadsheet, and is ignored.
        """
        while self._coming and self._coming[0].top <= number:
            merge = self._coming.popleft()
            value = texts.get(merge.left, "") if merge.top == number else ""
            self._open[merge.left] = (merge, value)
        covering = {
            column: value
            for column, (merge, value) in self._open.items()
            if merge.top < number <= merge.bottom
        }
        if not covering:
            return texts, {}
        own = {column: text for column, text in texts.items() if column not in covering}
        return own, {column: value for column, value in covering.items() if value}
