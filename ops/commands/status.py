"""`jobtrail status`: it reads two keys, and usually does not import the Redis client library."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from ops.addresses import command_redis_url
from ops.commands.shared_options import AsJson, Tenant
from ops.errors import CommandError
from ops.printing import print_facts, print_json
from streams.keys import JOB_ID, JobKey, Keys, check_tenant
from streams.kinds import find_kind
from streams.servers.quick_read import read_keys

FIELD_LENGTH = 2_000
"""Characters of one field that are printed; `--json` prints all."""


def status(
    tenant: Tenant,
    id: Annotated[str, typer.Argument()],  # noqa: A002 - the contract's word
    *,
    kind: Annotated[str, typer.Option(help="The job's kind, such as video.")] = "job",
    as_json: AsJson = False,
) -> None:
    """Read one job's projected status."""
    document = _document(tenant, kind, id)
    if as_json:
        print_json(document)
        return
    print_facts(document, FIELD_LENGTH)


def _document(tenant: str, kind: str, job_id: str) -> dict[str, Any]:
    if find_kind(kind) is None:
        from streams.kinds import KINDS  # noqa: PLC0415 - reads what packages are installed

        raise CommandError(f"no kind {kind!r}: take one of {', '.join(KINDS)}")
    if not JOB_ID.match(job_id):
        raise CommandError(f"{job_id!r} is not a valid job id")
    job = JobKey(check_tenant(tenant), kind, job_id)
    found, progress = _read(command_redis_url(), Keys().documents(job))
    if found is None:
        raise CommandError(f"tenant {tenant} has no {kind} {job_id}, or its status has expired")
    document: dict[str, Any] = {"tenant": tenant, "kind": kind, "id": job_id}
    try:
        document |= orjson.loads(found)
        document["progress"] = None if progress is None else orjson.loads(progress)
    except (ValueError, TypeError):
        raise CommandError(
            f"the status of {kind} {job_id} is not a JSON object: jobtrail replay status --reset"
            f" --tenant {tenant} writes it again"
        ) from None
    document.pop("fold", None)
    return document


def _read(url: str, keys: tuple[str, str]) -> list[bytes | None]:
    found = read_keys(url, keys)
    if found is not None:
        return found
    from streams.connection import connect  # noqa: PLC0415 - slow to import

    with connect(url) as client:
        answer: Any = client.mget(keys)
    return list(answer)
