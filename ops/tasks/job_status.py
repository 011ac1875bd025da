"""Reading one job's projected status, and its facts for people; for `jobtrail status`.

Used by `ops.commands.status` and `ops.tasks.events.event_view`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ops.addresses import command_redis_url
from ops.errors import CommandError
from ops.text.tables import Span
from streams.escapes import storable
from streams.keys import JOB_ID, JobKey, Keys, check_tenant
from streams.kinds import State, find_kind
from streams.servers.quick_read import read_keys, read_reply

BAR = 30
"""Characters of the progress bar."""


def read_status(tenant: str, kind: str, job_id: str) -> dict[str, Any]:
    """Return the documents of one job as one object.

    Raises:
        CommandError: there is no such job, or an argument is not valid.
    """
    if find_kind(kind) is None:
        from streams.kinds import KINDS  # noqa: PLC0415 - reads what packages are installed

        raise CommandError(f"no kind {kind!r}: take one of {', '.join(KINDS)}")
    if not JOB_ID.match(job_id):
        raise CommandError(f"{job_id!r} is not a valid job id")
    job = JobKey(check_tenant(tenant), kind, job_id)
    url = command_redis_url()
    found, progress = _read(url, job)
    if found is None:
        raise CommandError(_absent(url, job))
    document: dict[str, Any] = {"tenant": tenant, "kind": kind, "id": job_id}
    try:
        document |= orjson.loads(found)
        document["progress"] = None if progress is None else orjson.loads(progress)
    except (ValueError, TypeError):
        raise CommandError(
            f"the status of {kind} {job_id} is not a JSON object: jobtrail replay status --reset"
            f" --tenant {tenant} writes it again"
        ) from None
    detail = _operator_detail(url, job, document)
    document.pop("fold", None)
    return document if detail is None else document | {"operator_detail": detail}


def status_facts(document: Mapping[str, Any]) -> dict[str, object]:
    """Return the facts of a document for people: the status and the progress come first."""
    first = ("tenant", "kind", "id", "status")
    facts: dict[str, object] = {name: document.get(name) for name in first}
    facts["status"] = Span(str(facts["status"]), _colour(document))
    progress = document.get("progress")
    facts["progress"] = progress
    if isinstance(progress, dict):
        facts["progress"] = Span(_bar(progress), "cyan")
        facts |= {f"  {name}": value for name, value in progress.items()}
    return facts | {name: value for name, value in document.items() if name not in facts}


def _bar(progress: Mapping[str, Any]) -> str:
    """Return the whole job's percent as a bar, or only the step if that is unknown."""
    step = str(progress.get("step_name_display") or progress.get("step") or "")
    index, total = progress.get("step_index"), progress.get("step_total")
    where = f"step {index} of {total}" if index and total else ""
    said = ", ".join(filter(None, (step, where))) or "no step"
    percent = progress.get("percent")
    if not isinstance(percent, int | float):
        return said
    done = round(BAR * min(max(percent, 0), 100) / 100)
    return f"[{'#' * done}{'-' * (BAR - done)}] {percent:g} %  {said}"


def _colour(document: Mapping[str, Any]) -> str | None:
    """Return the colour of the status: of an end, or of work that goes on."""
    kind = find_kind(str(document.get("kind")))
    try:
        state = kind.state_of(str(document.get("status"))) if kind else None
    except ValueError:  # written by another version
        return None
    return STATE_COLOURS.get(str(state))


STATE_COLOURS: Mapping[str, str] = {
    "done": "green",
    "failed": "red",
    "cancelled": "yellow",
    "processing": "cyan",
    "progress": "cyan",
}
"""Colours of states, and of the types of events that report them."""


def _operator_detail(url: str, job: JobKey, document: Mapping[str, Any]) -> str | None:
    """Return what only operators read of a failure, or of the one before a retry that waits.

    It is in the event that determines the state; None if the stream does not have that any more,
    or cannot be read.
    """
    kind = find_kind(job.kind)
    if kind is None or document.get("status") not in (
        kind.words[State.QUEUED],
        kind.words[State.FAILED],
    ):
        return None
    try:
        (_, fields), *_ = _read_entry(url, job, document["fold"]["entry_id"])
        event = dict(zip(fields[::2], fields[1::2], strict=True))[b"event"]
        detail = orjson.loads(storable(event)).get("operator_detail")
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return detail if isinstance(detail, str) else None


def _read_entry(url: str, job: JobKey, entry_id: str) -> Any:
    found = read_reply(url, "XRANGE", Keys().stream(job.tenant), entry_id, entry_id)
    if found is not None:
        return found
    import redis  # noqa: PLC0415 - slow to import

    from streams.cluster import keys_of  # noqa: PLC0415 - slow to import
    from streams.connection import connect  # noqa: PLC0415 - slow to import
    from streams.wire import ask  # noqa: PLC0415 - slow to import

    try:
        with connect(url) as client:
            return ask(client, "XRANGE", keys_of(client).stream(job.tenant), entry_id, entry_id)
    except redis.RedisError as error:
        return error


def _absent(url: str, job: JobKey) -> str:
    """Return the line about a job that is not there, with those of other kinds that have its id."""
    from streams.kinds import KINDS  # noqa: PLC0415 - as in `read_status`

    kinds = [name for name in KINDS if name != job.kind]
    others = [name for name in kinds if _read(url, job._replace(kind=name))[0]]
    text = f"tenant {job.tenant} has no {job.kind} {job.id}"
    if not others:
        return f"{text}, or its status has expired"
    return f"{text}, but a {others[0]} {job.id}: add --kind {others[0]}"


def _read(url: str, job: JobKey) -> list[bytes | None]:
    found = read_keys(url, Keys().documents(job))
    if found is not None:
        return found
    from streams.cluster import keys_of  # noqa: PLC0415 - slow to import
    from streams.connection import connect  # noqa: PLC0415 - slow to import

    with connect(url) as client:
        answer: Any = client.mget(keys_of(client).documents(job))
    return list(answer)
