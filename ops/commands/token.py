"""The command `jobtrail token`. Used by `ops.cli`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.commands.shared_options import AsJson, Tenant
from ops.printing import complain, print_outcome
from ops.tasks.tokens import ignoring_up, request_of, token_of
from streams.settings import Settings

Jobs = Annotated[
    str | None, typer.Option("--jobs", help="Only these jobs: ids, separated by commas.")
]
Videos = Annotated[
    str | None, typer.Option("--videos", help="Only these videos: ids, separated by commas.")
]
Ttl = Annotated[str, typer.Option("--ttl", help="How long it is valid: 90s, 10m, 2h or 7d.")]
Scope = Annotated[
    str | None,
    typer.Option(
        "--scope",
        help="ops: also the console and the operators' endpoints; ops:read: the same, read-only.",
    ),
]

Subject = Annotated[
    str | None,
    typer.Option("--subject", help="Who uses it, for the audit log and the limit of requests."),
]


def token(
    tenant: Tenant,
    *,
    jobs: Jobs = None,
    videos: Videos = None,
    ttl: Ttl = "10m",
    scope: Scope = None,
    subject: Subject = None,
    as_json: AsJson = False,
) -> None:
    """Print a token for the API, to try it out.

    It is signed with JOBTRAIL_JWT_SECRET, or with the secret of the `jobtrail up` that runs here
    if it was started with one.
    Without --jobs and --videos it may read all jobs of the tenant.
    """
    settings = Settings.from_environ()
    request = request_of(tenant, {"jobs": jobs, "videos": videos}, ttl, scope, subject)
    made = token_of(settings, request)
    if ignoring_up(settings) is not None:
        complain("warning: the running jobtrail up takes no tokens (JOBTRAIL_AUTH=dev)")
    print_outcome(made, as_json=as_json)
