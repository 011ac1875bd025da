"""`jobtrail dead`: list, show, requeue and discard dead letters. Used by `ops.cli`."""

from __future__ import annotations

from typing import Annotated

import typer

from consumers.dead_letters.letter_filter import LetterFilter
from consumers.dead_letters.store import DeadLetterStore
from ops.addresses import command_settings
from ops.arguments import check_known
from ops.commands.shared_options import AsJson, OneTenant
from ops.errors import CommandError
from ops.printing import (
    complain,
    print_facts,
    print_facts_or_line,
    print_json,
    print_line,
    print_table,
)
from ops.tasks import audit
from ops.tasks.dead_letters import selection as dead_letters
from ops.tasks.dead_letters.facts import content_facts, listed_cells, printed_facts
from ops.text.plurals import counted
from streams.connection import connect
from streams.keys import check_tenant
from streams.wire import as_text

dead = typer.Typer(help="Entries that could not be applied.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant of the dead letters.")]
Id = Annotated[str, typer.Argument(help="The entry's id.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of entries.")]
All = Annotated[bool, typer.Option("--all", "-a", help="All dead letters of the tenant.")]
Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Only those with this reason.")]
Group = Annotated[
    str | None, typer.Option("--group", "-g", help="Only those that this group could not apply.")
]
Detail = Annotated[
    str | None,
    typer.Option("--detail", "-d", help="Only those with this detail; numbers in it are ignored."),
]
EventType = Annotated[
    str | None, typer.Option("--type", help="Only those with an event of this type.")
]
JobType = Annotated[
    str | None, typer.Option("--job-type", help="Only those whose event has this job_type.")
]
Kind = Annotated[str | None, typer.Option("--kind", help="Only those with an event of this kind.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="The most that are listed.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Confirm --all.")]


@dead.command("list")
def list_letters(
    *,
    tenant: OneTenant = None,
    reason: Reason = None,
    detail: Detail = None,
    group: Group = None,
    type_: EventType = None,
    job_type: JobType = None,
    kind: Kind = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, each tenant's newest first."""
    wanted = LetterFilter(reason, detail, group, type_, job_type, kind)
    letters, more = dead_letters.first_letters(_store(tenant), tenant, limit, wanted)
    facts = [printed_facts(letter) for letter in letters]
    if as_json:
        print_json(facts)
        return
    if not facts:
        print_line("no dead letters")
        return
    head = ["tenant", "id", "rejected", "group", "reason"]
    print_table(head, map(listed_cells, letters), note="detail")
    if more:
        print_line(f"the first {limit}; there are more: --limit")


@dead.command()
def show(tenant: Tenant, id: Id, *, as_json: AsJson = False) -> None:  # noqa: A002 - as elsewhere
    """Show one dead letter with its bytes."""
    entry = dead_letters.letter_id(id)
    letter = _store(tenant).find(tenant, str(entry))
    if letter is None:
        raise dead_letters.unknown_letters_error(tenant, [entry])
    facts = printed_facts(letter)
    if as_json:
        print_json(facts | content_facts(letter))
        return
    print_facts(facts | {"groups": ", ".join(letter.groups)})
    # Not in the table, whose cells break lines: it must be possible to copy the event.
    if letter.event is not None:
        print_line(as_text(letter.event))
    for field, value in letter.others:
        print_line(f"{as_text(field)}: {as_text(value)}")


@dead.command()
def requeue(
    tenant: Tenant,
    ids: Ids = None,
    *,
    all_: All = False,
    reason: Reason = None,
    detail: Detail = None,
    group: Group = None,
    type_: EventType = None,
    job_type: JobType = None,
    kind: Kind = None,
    as_json: AsJson = False,
) -> None:
    """Append entries again, oldest first, once the cause of their failure is removed."""
    wanted = LetterFilter(reason, detail, group, type_, job_type, kind)
    selection = dead_letters.select(tenant, ids, all_=all_, wanted=wanted)
    # No consumer reads the stream of a name that is not valid.
    store = _store(check_tenant(tenant))
    with audit.recorded(command_settings(), "requeue", tenant, selection.facts, complain) as record:
        result = dead_letters.requeue(store, selection)
        record.done(changed=result.handled > 0, counts=_counts("requeued", result))
    _report("requeued", result, tenant, as_json=as_json)


@dead.command()
def discard(
    tenant: Tenant,
    ids: Ids = None,
    *,
    all_: All = False,
    reason: Reason = None,
    detail: Detail = None,
    group: Group = None,
    type_: EventType = None,
    job_type: JobType = None,
    kind: Kind = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters permanently."""
    wanted = LetterFilter(reason, detail, group, type_, job_type, kind)
    selection = dead_letters.select(tenant, ids, all_=all_, wanted=wanted)
    store = _store(tenant)
    if all_ and not yes:
        raise CommandError(
            f"this would delete {counted(sum(1 for _ in selection.letters(store)), 'dead letter')}"
            f" of tenant {tenant} permanently: confirm it with --yes"
        )
    with audit.recorded(command_settings(), "discard", tenant, selection.facts, complain) as record:
        result = dead_letters.discard(store, selection)
        record.done(changed=result.handled > 0, counts=_counts("discarded", result))
    _report("discarded", result, tenant, as_json=as_json)


def _store(tenant: str | None) -> DeadLetterStore:
    settings = command_settings()
    client = connect(settings.require_redis_url())
    if tenant is not None:
        check_known(client, tenant)
    return DeadLetterStore(client, max_event_bytes=settings.max_event_bytes)


def _counts(done: str, result: dead_letters.Result) -> dict[str, int]:
    return {done: result.handled} | ({"failed": len(result.failed)} if result.failed else {})


def _report(done: str, result: dead_letters.Result, tenant: str, *, as_json: bool) -> None:
    """Print the number of letters, and raise if there are others that were not handled."""
    error = dead_letters.unhandled_error(tenant, result)
    if result.handled or error is None or as_json:
        text = f"{done} {counted(result.handled, 'dead letter')}"
        missing = {"missing": len(result.missing)} if result.missing else {}
        print_facts_or_line(_counts(done, result) | missing, text, as_json=as_json)
    if error is not None:
        raise error
