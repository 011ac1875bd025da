"""Students in PostgreSQL: two look-ups a block of rows, then a statement and transaction a chunk.

A block may be saved again at any time: the rows that the same import of the same file saved earlier
are counted as what became of them then.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
from psycopg import errors

from sql import queries, sessions
from sql.sessions import Session
from workers.roster.table.rows import Refused, Student

CHUNK = 200
"""Rows that are saved, or fail, together."""

ANSWER_SECONDS = 75.0
"""The time limit, in seconds, for one answer; the server ends a statement after a minute."""

_QUERIES = queries("roster")
_TRIES = 5
"""Of one chunk, when what stopped it was no fault of its rows."""

_ROW_FAULTS = (psycopg.DataError, psycopg.IntegrityError, errors.RaiseException)
_PASSING = (errors.DeadlockDetected, errors.SerializationFailure)
_NUMBERS = re.compile(r"ps_number|username")
_REASON_LENGTH = 200

Wanted = tuple[Student, int | None]
"""A student to save, and the deleted one whom that restores."""


@dataclass
class Outcome:
    """What became of rows."""

    counts: Counter[str] = field(default_factory=Counter)
    """By `created`, `restored` and `skipped`."""
    failed: list[Refused] = field(default_factory=list)


@dataclass(frozen=True)
class Import:
    """What is the same for all rows: whose they are, which import and file, which password hash."""

    tenant: str
    import_id: str
    digest: str
    password: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The same as parameters of statements."""
        return {
            "tenant": self.tenant,
            "import_id": self.import_id,
            "import_file": bytes.fromhex(self.digest),
            "password": self.password,
        }


def connect(database_url: str, tenant: str) -> Session:
    """Open a session that sees this tenant's rows alone, and commits each statement.

    Raises:
        psycopg.Error: the server is away or refuses.
    """
    # No sequential scans: all we do is look up by key, and a plan that was made (and kept, for the
    # foreign keys too) while a table was nearly empty must not scan it when it has grown. So one
    # plan serves all chunks, and is made once.
    settings = {
        "app.tenant_id": tenant,
        "enable_seqscan": "off",
        "plan_cache_mode": "force_generic_plan",
    }
    session = sessions.connect(
        database_url,
        "jobtrail-roster",
        settings=settings,
        connect_seconds=10,
        answer_seconds=ANSWER_SECONDS,
    )
    if session.settle():
        session.prepare_threshold = 0
    return session


def save_block(
    connection: psycopg.Connection,
    what: Import,
    students: Sequence[Student],
    tick: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Save students, no two of them with one pair; `tick` is told how many are done.

    Raises:
        psycopg.Error: the server is away or refuses; what was saved before stays saved.
    """
    outcome = Outcome()
    wanted = _look_up(connection, what, students, outcome)
    done = len(students) - len(wanted)
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        _save(connection, what, chunk, outcome)
        done += len(chunk)
        tick(done)
    return outcome


def _look_up(
    connection: psycopg.Connection, what: Import, students: Sequence[Student], outcome: Outcome
) -> list[Wanted]:
    """Count the active ones; give the others, with the deleted students that they were."""
    pairs = {
        "names": [student.name for student in students],
        "phones": [student.parent_phone for student in students],
        **what.parameters,
    }
    if not students:
        return []
    active: dict[int, str] = dict(connection.execute(_QUERIES["active_students"], pairs).fetchall())
    outcome.counts.update(active.values())
    deleted: dict[int, int] = dict(
        connection.execute(_QUERIES["deleted_students"], pairs).fetchall()
    )
    return [
        (student, deleted.get(place))
        for place, student in enumerate(students)
        if place not in active
    ]


def _save(
    connection: psycopg.Connection, what: Import, chunk: Sequence[Wanted], outcome: Outcome
) -> None:
    """Save a chunk; where a row of it cannot be, try its halves: one bad row fails alone."""
    try:
        saved = _execute(connection, what, chunk)
    except _ROW_FAULTS as error:
        if len(chunk) == 1:
            _settle_one(connection, what, chunk[0][0], error, outcome)
            return
        middle = len(chunk) // 2
        _save(connection, what, chunk[:middle], outcome)
        _save(connection, what, chunk[middle:], outcome)
        return
    outcome.counts.update(saved.values())
    if missed := [student for student, _ in chunk if student.row not in saved]:
        _settle(connection, what, missed, outcome)


def _execute(
    connection: psycopg.Connection, what: Import, chunk: Sequence[Wanted]
) -> dict[int, str]:
    """Run the statement; give what it did by row number."""
    rows = [
        {**student._asdict(), "row_number": student.row, "student_id": known}
        for student, known in chunk
    ]
    parameters = {**what.parameters, "rows": orjson.dumps(rows).decode()}
    for left in reversed(range(_TRIES)):
        try:
            return dict(connection.execute(_QUERIES["save_chunk"], parameters).fetchall())
        except _PASSING:
            if not left:
                raise
        except errors.UniqueViolation as error:
            # A number that somebody gave by hand: the next try draws others.
            if not left or not _NUMBERS.search(error.diag.constraint_name or ""):
                raise
    raise AssertionError("the last try returns or raises")


def _settle(
    connection: psycopg.Connection, what: Import, missed: Sequence[Student], outcome: Outcome
) -> None:
    """Count what another import saved between our look and our statement."""
    again = Outcome()
    left = {student.row for student, _ in _look_up(connection, what, missed, again)}
    outcome.counts.update(again.counts)
    outcome.failed += [
        Refused(student.row, student.name, "저장하는 동안 다른 작업이 바꾸었습니다.")
        for student in missed
        if student.row in left
    ]


def _settle_one(
    connection: psycopg.Connection,
    what: Import,
    student: Student,
    error: psycopg.Error,
    outcome: Outcome,
) -> None:
    if isinstance(error, errors.UniqueViolation):
        _settle(connection, what, [student], outcome)
        return
    reason = (error.diag.message_primary or type(error).__name__)[:_REASON_LENGTH]
    outcome.failed.append(Refused(student.row, student.name, f"저장하지 못했습니다: {reason}"))
