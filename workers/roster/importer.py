"""The import of a workbook as a job of type `excel`: three steps, and its result.

Rows are saved in blocks. A block is saved again if the database was unavailable meanwhile. An
import whose process was killed continues when the same command is run again
(`workers.roster.store`). Used by `ops.tasks.roster_import`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import psycopg

from streams.job_report import JobReport
from streams.reporter import Reporter
from workers.roster.errors import RosterError
from workers.roster.passwords import hash_password, initial_password
from workers.roster.reader_client import Reading, read_workbook
from workers.roster.store import ImportValues, Outcome, connect, save_block
from workers.roster.table.rows import Refused, Student
from workers.roster.xlsx.cells import clean

BLOCK_ROWS = 5_000
"""The number of rows in one block."""

OUTAGE_SECONDS = 60.0
"""The time for which a block waits for a database that is unavailable."""

FAILED_BYTES = 700_000
"""Bytes of JSON that the failures in a result may take, so that the event stays under its limit."""

JOB_TYPE = "excel"
STEPS = {"reading": "파일 읽기", "checking": "행 확인", "saving": "저장"}
_SAVING_FROM = 10
"""The percent at which saving begins: reading and checking take about this share of the time."""


class Job(NamedTuple):
    """The workbook to import, and the job to report it as."""

    path: Path
    tenant: str
    import_id: str
    attempt: int = 1


def import_roster(
    job: Job,
    *,
    password: str | None,
    database_url: str,
    reporter: Reporter,
    failed_bytes: int = FAILED_BYTES,
) -> dict[str, Any]:
    """Import the students of a workbook; return the result of the `done` event.

    KeyboardInterrupt is reported as `cancelled`; the same import, run again, continues.
    `failed_bytes` limits the JSON of the failed rows in the result.

    Raises:
        RosterError: the workbook cannot be imported, or the database stayed unavailable; the job
            was reported as failed with the same message.
        InvalidEvent, InvalidTenant: the job has no valid tenant or id; nothing was reported.
        LogUnavailable: the end could not be reported; the students are saved.
    """
    with reporter.job(
        job.import_id, tenant=job.tenant, job_type=JOB_TYPE, attempt=job.attempt
    ) as report:
        try:
            result = _Run(job, report, database_url, failed_bytes).run(password)
        except RosterError as error:
            message = f"{clean(job.path.name)}: {error}"
            report.failed(message, code=error.code)
            raise RosterError(message, code=error.code) from error
        report.done(result)
    return result


class _Run:
    """One run of an import."""

    def __init__(self, job: Job, report: JobReport, url: str, failed_bytes: int) -> None:
        self._job = job
        self._report = report
        self._url = url
        self._failed_bytes = failed_bytes
        self._connection: psycopg.Connection | None = None

    def run(self, password: str | None) -> dict[str, Any]:
        self._report_progress("reading", 0)
        word = initial_password(password)
        # The hash takes about half a second, and is computed while the reader starts.
        with ThreadPoolExecutor(1) as thread:
            hashed = thread.submit(hash_password, word)
            with read_workbook(self._job.path, self._report_checked) as reading:
                return self._save_read(reading, hashed.result())

    def _save_read(self, reading: Reading, hashed: str) -> dict[str, Any]:
        shared = ImportValues(self._job.tenant, self._job.import_id, reading.digest, hashed)
        try:
            return self._save_all(shared, reading)
        finally:
            self._disconnect()

    def _save_all(self, shared: ImportValues, reading: Reading) -> dict[str, Any]:
        tally = _Tally(reading.total, self._failed_bytes)
        self._report_saved(0, reading)
        for rows in _blocks(reading.rows):
            students = [row for row in rows if isinstance(row, Student)]
            refused = [row for row in rows if isinstance(row, Refused)]
            before = tally.seen + len(refused)

            def tick(done: int, before: int = before) -> None:
                self._report_saved(before + done, reading)

            tally.add(self._save(shared, students, tick), refused)
            self._report_saved(tally.seen, reading)
        return tally.result()

    def _save(
        self, shared: ImportValues, students: list[Student], tick: Callable[[int], None]
    ) -> Outcome:
        """Save a block; try again for `OUTAGE_SECONDS` while the database is unavailable."""
        deadline, pause = time.monotonic() + OUTAGE_SECONDS, 0.1
        while True:
            try:
                return save_block(self._connected(), shared, students, tick)
            except psycopg.OperationalError as error:
                self._disconnect()
                if time.monotonic() + pause > deadline:
                    raise RosterError(
                        "the database stayed away: run the import again under the same id",
                        code="database",
                    ) from error
                time.sleep(pause)
                pause = min(pause * 2, 2.0)
            except psycopg.errors.UndefinedTable as error:
                raise RosterError(
                    "the database has no tables for a roster: run jobtrail migrate",
                    code="database",
                ) from error
            except psycopg.Error as error:
                raise RosterError(
                    f"the database refuses: {error.diag.message_primary or type(error).__name__}",
                    code="database",
                ) from error

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = connect(self._url, self._job.tenant)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _report_checked(self, row: int, last_row: int) -> None:
        self._report_progress("checking", 100 * row / max(last_row, 1), row=row, total=last_row)

    def _report_saved(self, done: int, reading: Reading) -> None:
        share = 100 * done / max(reading.total, 1)
        self._report_progress("saving", share, row=done, total=reading.total, sheet=reading.sheet)

    def _report_progress(self, step: str, share: float, **extra: object) -> None:
        """Report the progress; `share` is the percent of the step that is done."""
        percent = {"reading": 0.0, "checking": share * _SAVING_FROM / 100}.get(
            step, _SAVING_FROM + share * (100 - _SAVING_FROM) / 100
        )
        self._report.progress(
            step,
            percent=round(percent, 1),
            step_index=list(STEPS).index(step) + 1,
            step_total=len(STEPS),
            step_name_display=STEPS[step],
            step_percent=round(min(share, 100.0), 1),
            extra=extra,
        )


class _Tally:
    """The counts of an import, and as many failed rows as fit into `failed_bytes` of JSON."""

    def __init__(self, total: int, failed_bytes: int) -> None:
        self._total = total
        self._bytes_left = failed_bytes
        self._outcome = Outcome()
        self._omitted = 0
        self.seen = 0

    def add(self, outcome: Outcome, refused: Iterable[Refused]) -> None:
        failures = sorted([*refused, *outcome.failed])
        self._outcome.counts.update(outcome.counts)
        self.seen += outcome.counts.total() + len(failures)
        for failure in failures:
            self._add_failure(failure)

    def _add_failure(self, failure: Refused) -> None:
        """Add a failed row to the result, or only count it if it does not fit."""
        self._bytes_left -= len(orjson.dumps(failure._asdict())) + 1
        if self._bytes_left < 0:
            self._omitted += 1
        else:
            self._outcome.failed.append(failure)

    def result(self) -> dict[str, Any]:
        """Return the result; `failed_omitted` counts the failures that did not fit, if any."""
        counts = self._outcome.counts
        result: dict[str, Any] = {name: counts[name] for name in ("created", "restored", "skipped")}
        result["failed"] = [failure._asdict() for failure in self._outcome.failed]
        result["total"] = self._total
        if self._omitted:
            result["failed_omitted"] = self._omitted
        return result


def _blocks(rows: Iterator[Student | Refused]) -> Iterator[list[Student | Refused]]:
    while block := list(islice(rows, BLOCK_ROWS)):
        yield block
