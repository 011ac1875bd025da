"""Statements that the product sent, recorded once and sent again without the product.

They measure the limit of a projection: the same transactions, statements and rows, without reading
and folding events. Because they are recorded, they change when the product's statements change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple
from unittest.mock import patch

import psycopg

from sql import sessions
from sql.sessions import Session

PLACE = "place"
"""The column with the ctid of a row that the product locked. When the statements are sent again,
rows may have other ctids, because a vacuum runs at another time."""


class Begin(NamedTuple):
    """A transaction, or a savepoint within one."""


class End(NamedTuple):
    """The end of the innermost transaction or savepoint."""


class Execute(NamedTuple):
    """A statement, and the ctids that it returned."""

    query: Any
    params: Any
    places: Sequence[str]


class Copy(NamedTuple):
    """Rows for COPY."""

    statement: Any
    types: Sequence[str]
    rows: Sequence[Sequence[Any]]


Step = Begin | End | Execute | Copy


class Recorder:
    """Recorder of the statements of sessions that are opened while it records."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the sessions that are opened within the context."""
        original = sessions.connect

        def connect(*arguments: Any, **options: Any) -> _RecordedSession:
            return _RecordedSession(original(*arguments, **options), self.steps)

        with patch.object(sessions, "connect", connect):
            yield


class _RecordedSession:
    """A session whose transactions, statements and copies are recorded."""

    def __init__(self, session: Session, steps: list[Step]) -> None:
        self._session, self._steps = session, steps
        session.cursor_factory = _cursors(steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __enter__(self) -> Session:
        """Return the session unrecorded: chores use sessions so, and projections do not."""
        self._session.cursor_factory = psycopg.Cursor
        return self._session.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.__exit__(kind, error, traceback)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Transaction]:
        self._steps.append(Begin())
        with self._session.transaction() as transaction:
            yield transaction
        self._steps.append(End())


def _cursors(steps: list[Step]) -> type[psycopg.Cursor[Any]]:
    class RecordedCursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> RecordedCursor:
            super().execute(query, params, **options)
            steps.append(Execute(query, params, _places(self)))
            return self

        @contextmanager
        def copy(self, statement: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
            with super().copy(statement, *arguments, **options) as copy:
                recorded = _RecordedCopy(copy)
                yield recorded
            steps.append(Copy(statement, recorded.types, recorded.rows))

    return RecordedCursor


class _RecordedCopy:
    """COPY row by row."""

    def __init__(self, copy: psycopg.Copy) -> None:
        self._copy = copy
        self.types: Sequence[str] = ()
        self.rows: list[Sequence[Any]] = []

    def set_types(self, types: Sequence[str]) -> None:
        self.types = types
        self._copy.set_types(types)

    def write_row(self, row: Sequence[Any]) -> None:
        self.rows.append(row)
        self._copy.write_row(row)


def send_again(session: Session, steps: Sequence[Step]) -> None:
    """Send recorded steps to tables that are empty as they were then."""
    _send(session, iter(steps), {})


def _send(session: Session, steps: Iterator[Step], moved: dict[str, str]) -> None:
    for step in steps:
        if isinstance(step, Begin):
            with session.transaction():
                _send(session, steps, moved)
        elif isinstance(step, End):
            return
        elif isinstance(step, Copy):
            _copy(session, step, moved)
        else:
            found = session.execute(step.query, _at_new_places(step.params, moved))
            if step.places:
                places = zip(step.places, _places(found), strict=True)
                moved.clear()
                moved.update((then, now) for then, now in places if then != now)


def _copy(session: Session, step: Copy, moved: Mapping[str, str]) -> None:
    with session.cursor() as cursor, cursor.copy(step.statement) as copy:
        copy.set_types(step.types)
        write = copy.write_row
        for row in step.rows:
            write([moved.get(value, value) for value in row] if moved else row)


def _at_new_places(params: Any, moved: Mapping[str, str]) -> Any:
    """Return the parameters with the present ctids, which are the last array."""
    if not moved or not params or not isinstance(params[-1], list):
        return params
    return [*params[:-1], [moved.get(value, value) for value in params[-1]]]


def _places(cursor: psycopg.Cursor[Any]) -> Sequence[str]:
    """Return the column of ctids of a result, if it has one; its other columns are not read."""
    result = cursor.pgresult
    names = [column.name for column in cursor.description or ()]
    if result is None or PLACE not in names:
        return ()
    at = names.index(PLACE)
    values = [result.get_value(row, at) for row in range(result.ntuples)]
    return [bytes(value).decode() for value in values if value is not None]
