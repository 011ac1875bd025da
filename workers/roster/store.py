"""Students in PostgreSQL: two queries per block of rows, then one statement per chunk.

Each statement is a transaction. A block may be saved again at any time: rows that the same import
of the same file has saved already are counted with their first result. Used by
`workers.roster.importer`.
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

CHUNK_ROWS = 200
"""The number of rows that are saved, or fail, together."""

ANSWER_SECONDS = 75.0
"""The time limit, in seconds, for one answer; the server ends a statement after a minute."""

_QUERIES = queries("roster")
_TRIES = 5
"""Tries to save a chunk, each with other numbers (`ps_number`)."""

_ROW_FAULTS = (psycopg.DataError, psycopg.IntegrityError, errors.RaiseException)
_NUMBER_CONSTRAINT = re.compile(r"ps_number|username")
_REASON_LENGTH = 200

Wanted = tuple[Student, int | None]
"""A student to save, and the id of the deleted student that this restores, if any."""


@dataclass
class Outcome:
    """The results of saving rows."""

    counts: Counter[str] = field(default_factory=Counter)
    """The number of rows that were `created`, `restored` and `skipped`."""
    failed: list[Refused] = field(default_factory=list)


@dataclass(frozen=True)
class ImportValues:
    """The values that all rows share: tenant, import, hash of the file, password hash."""

    tenant: str
    import_id: str
    digest: str
    password_hash: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the statements."""
        return {
            "tenant": self.tenant,
            "import_id": self.import_id,
            "import_file": bytes.fromhex(self.digest),
            "password": self.password_hash,
        }


def connect(database_url: str, tenant: str) -> Session:
    """Open a session in autocommit mode that sees the rows of this tenant only.

    Raises:
        psycopg.Error: the server is unavailable or refuses the connection.
    """
    # All statements look up by key. PostgreSQL caches plans, also for foreign keys. A plan that was
    # made while a table was nearly empty must not scan the table once it has grown. With these
    # settings one plan is made, which is good for all chunks.
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
    shared: ImportValues,
    students: Sequence[Student],
    tick: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Save students, whose pairs of name and parent's phone must differ.

    `tick` is called after each chunk with the number of students that are done, whatever their
    result.

    Raises:
        psycopg.Error: the server is unavailable or refuses; earlier chunks stay saved.
    """
    outcome = Outcome()
    wanted = _look_up(connection, shared, students, outcome)
    done = len(students) - len(wanted)
    for start in range(0, len(wanted), CHUNK_ROWS):
        chunk = wanted[start : start + CHUNK_ROWS]
        _save(connection, shared, chunk, outcome)
        done += len(chunk)
        tick(done)
    return outcome


def _look_up(
    connection: psycopg.Connection,
    shared: ImportValues,
    students: Sequence[Student],
    outcome: Outcome,
) -> list[Wanted]:
    """Count the active students; return the others, with the ids of deleted students to restore."""
    pairs = {
        "names": [student.name for student in students],
        "phones": [student.parent_phone for student in students],
        **shared.parameters,
    }
    if not students:
        return []
    active: dict[int, str] = dict(connection.execute(_QUERIES["active_students"], pairs).fetchall())
    outcome.counts.update(active.values())
    deleted: dict[int, int] = dict(
        connection.execute(_QUERIES["deleted_students"], pairs).fetchall()
    )
    return [
        (student, deleted.get(index))
        for index, student in enumerate(students)
        if index not in active
    ]


def _save(
    connection: psycopg.Connection, shared: ImportValues, chunk: Sequence[Wanted], outcome: Outcome
) -> None:
    """Save a chunk; if that fails because of a row, save its halves, down to the row itself."""
    try:
        saved = _execute(connection, shared, chunk)
    except _ROW_FAULTS as error:
        if len(chunk) == 1:
            _count_failed(connection, shared, chunk[0][0], error, outcome)
            return
        middle = len(chunk) // 2
        _save(connection, shared, chunk[:middle], outcome)
        _save(connection, shared, chunk[middle:], outcome)
        return
    outcome.counts.update(saved.values())
    if missed := [student for student, _ in chunk if student.row not in saved]:
        _count_missed(connection, shared, missed, outcome)


def _execute(
    connection: psycopg.Connection, shared: ImportValues, chunk: Sequence[Wanted]
) -> dict[int, str]:
    """Run the statement; return its result (`created` …) by row number."""
    rows = [
        {**student._asdict(), "row_number": student.row, "student_id": known}
        for student, known in chunk
    ]
    parameters = {**shared.parameters, "rows": orjson.dumps(rows).decode()}
    for tries_left in reversed(range(_TRIES)):
        try:
            return dict(connection.execute(_QUERIES["save_chunk"], parameters).fetchall())
        except errors.UniqueViolation as error:
            # Somebody assigned such a number by hand; the next try draws others.
            if not tries_left or not _NUMBER_CONSTRAINT.search(error.diag.constraint_name or ""):
                raise
    raise AssertionError("the last try returns or raises")


def _count_missed(
    connection: psycopg.Connection,
    shared: ImportValues,
    missed: Sequence[Student],
    outcome: Outcome,
) -> None:
    """Count students that another import saved between `_look_up` and `_execute`.

    Those that are still missing become failures.
    """
    again = Outcome()
    not_found = {student.row for student, _ in _look_up(connection, shared, missed, again)}
    outcome.counts.update(again.counts)
    outcome.failed += [
        Refused(student.row, student.name, "저장하는 동안 다른 작업이 바꾸었습니다.")
        for student in missed
        if student.row in not_found
    ]


def _count_failed(
    connection: psycopg.Connection,
    shared: ImportValues,
    student: Student,
    error: psycopg.Error,
    outcome: Outcome,
) -> None:
    """Add the failure of one row to the outcome, unless the student is there now."""
    if isinstance(error, errors.UniqueViolation):
        _count_missed(connection, shared, [student], outcome)
        return
    reason = (error.diag.message_primary or type(error).__name__)[:_REASON_LENGTH]
    outcome.failed.append(Refused(student.row, student.name, f"저장하지 못했습니다: {reason}"))
