"""`jobtrail roster import`: one run of the reference import worker, as a job.

Used by `ops.commands.roster`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import redis

from ops.errors import CommandError
from ops.tasks.reporting import interrupt_on_sigterm, job_reporter
from streams.cluster import keys_of
from streams.connection import connect
from streams.event_ids import new_event_id
from streams.keys import JOB_ID, JobKey, check_tenant
from streams.kinds import KINDS
from streams.settings import Settings
from workers.roster.errors import RosterError
from workers.roster.importer import Job, import_roster


class Request(NamedTuple):
    """The workbook to import, and the job to import it as."""

    file: Path
    tenant: str
    job_id: str | None
    """None for a new job."""
    attempt: int | None
    """None for the one after the job's last attempt."""
    password_variable: str
    """The environment variable that holds the first password of the accounts."""


class Imported(NamedTuple):
    """The result of an import."""

    id: str
    attempt: int
    result: dict[str, Any]
    """The result of the job's `done` event."""


def job_key(request: Request) -> JobKey:
    """Return the key of the job to import as.

    Raises:
        InvalidTenant: no tenant can have that name.
        CommandError: no job can have that id.
    """
    job_id = request.job_id or new_event_id()
    tenant = check_tenant(request.tenant)
    if not JOB_ID.match(job_id):
        raise CommandError(f"{job_id!r} is not a valid job id")
    return JobKey(tenant, "job", job_id)


def import_file(
    settings: Settings, request: Request, job: JobKey, on_start: Callable[[str], None]
) -> Imported:
    """Import the workbook and report it as a job; call `on_start` with the job's id before.

    Raises:
        CommandError: the workbook cannot be imported, or the import was interrupted.
        SettingsError, redis.RedisError: a server is not configured or is unavailable.
    """
    database_url = settings.require_database_url()
    interrupt_on_sigterm()
    client = connect(settings.require_redis_url())
    reporter = job_reporter(settings)
    attempt = request.attempt or (_next_attempt(client, job) if request.job_id else 1)
    on_start(job.id)
    try:
        result = import_roster(
            Job(request.file, job.tenant, job.id, attempt),
            password=os.environ.get(request.password_variable),
            database_url=database_url,
            reporter=reporter,
            failed_bytes=settings.max_event_bytes * 2 // 3,
        )
    except RosterError as error:
        raise CommandError(_line(error, request)) from None
    except KeyboardInterrupt:
        raise CommandError(f"job {job.id} was cancelled: --id {job.id} goes on with it") from None
    return Imported(job.id, attempt, result)


def _line(error: RosterError, request: Request) -> str:
    if error.code == "initial_password":
        return f"{error} (it is read from {request.password_variable})"
    return str(error)


def _next_attempt(client: redis.Redis, job: JobKey) -> int:
    """Return the attempt after the job's last one, or the last one again if it has not ended."""
    keys = keys_of(client)
    found: Any = client.mget([keys.status(job), keys.ended(job)])
    status, tombstone = found
    if status is None:
        # The tombstone of an ended job outlives its documents; it begins with the attempt.
        return 1 if tombstone is None else int(tombstone.split()[0]) + 1
    document = orjson.loads(status)
    ended = KINDS[job.kind].state_of(document["status"]).ended
    return int(document["attempt"]) + ended
