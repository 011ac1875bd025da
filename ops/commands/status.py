"""`jobtrail status`: it reads two keys, and usually does not import the Redis client library.

Used by `ops.cli`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ops.commands.shared_options import AsJson, Tenant, complete_kind
from ops.printing import print_facts, print_json
from ops.tasks.job_status import read_status, status_facts


def status(
    tenant: Tenant,
    id: Annotated[str, typer.Argument(help="The job's id.")],  # noqa: A002 - the contract's word
    *,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", "-k", help="The job's kind, such as video.", autocompletion=complete_kind
        ),
    ] = "job",
    as_json: AsJson = False,
) -> None:
    """Read one job's projected status."""
    document = read_status(tenant, kind, id)
    if as_json:
        print_json(document)
    else:
        print_facts(status_facts(document), length=None)
