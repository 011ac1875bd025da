"""The command `jobtrail tail`. Used by `ops.cli`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.addresses import command_settings
from ops.arguments import is_known
from ops.commands.shared_options import AsJson, Tenant, complete_kind
from ops.printing import complain, print_json, print_spans, reader_gone
from ops.tasks.events.event_view import describe, filter_of, json_of
from ops.tasks.events.stream_tail import check_start, follow
from streams.connection import connect
from streams.keys import check_tenant

Since = Annotated[
    str, typer.Option("--from", help="After this entry id; 0 for all, $ for new entries.")
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind", "-k", help="Only this kind, such as video.", autocompletion=complete_kind
    ),
]
Ids = Annotated[list[str] | None, typer.Option("--id", "-i", help="Only the job with this id.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="Only this type of event, such as progress.")
]
States = Annotated[
    list[str] | None,
    typer.Option("--state", "-s", help="Only events that report this state, such as failed."),
]


def tail(
    tenant: Tenant,
    *,
    since: Since = "$",
    kind: Kinds = None,
    id: Ids = None,  # noqa: A002 - as elsewhere
    type: Types = None,  # noqa: A002 - the events' word
    state: States = None,
    as_json: AsJson = False,
) -> None:
    """Watch a tenant's events until Ctrl-C.

    Times are local. The options that choose events may be repeated.
    """
    check_start(since)
    chosen = filter_of(kind or (), id or (), type or (), state or ())
    client = connect(command_settings().require_redis_url())
    if not is_known(client, check_tenant(tenant)):
        complain(f"nothing was ever appended for tenant {tenant}: waiting for its first event")
    try:
        for entry in filter(chosen.takes, follow(client, tenant, since, done=reader_gone)):
            if as_json:
                print_json(json_of(entry))
            else:
                spans, repeated = describe(entry)
                print_spans(spans, one_line=repeated)
    except KeyboardInterrupt:
        return
