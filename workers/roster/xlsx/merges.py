"""Values that are merged downwards: each row of the range has them, as siblings share a phone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import attrgetter

from workers.roster.xlsx.workbook import Texts
from workers.roster.xlsx.worksheet import Merge


class MergedDown:
    """The merged values of a table's columns, row by row from the top.

    A range that starts at the header or above it is none of the table's. Of a range that spans
    columns, too, only the first column has the value: a school merged into the phone is no phone.
    """

    def __init__(self, merges: Iterable[Merge], *, below: int, columns: Iterable[int]) -> None:
        wanted = frozenset(columns)
        found = (
            merge for merge in merges if merge.bottom > merge.top > below and merge.left in wanted
        )
        self._coming = deque(sorted(found, key=attrgetter("top")))
        self._open: dict[int, tuple[Merge, str]] = {}
        """By column: the range that the last row was in, its value."""

    def of(self, number: int, texts: Texts) -> tuple[Texts, Texts]:
        """Return the texts that a row has by itself, and those merged into it from above.

        What stands in a covered cell is not shown, so it does not count.
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
