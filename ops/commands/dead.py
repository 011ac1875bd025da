"""`jobtrail dead`: look at dead letters, requeue and discard them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import chain, islice
from typing import Annotated, Any

import typer

from consumers.dead_letters.letter import Letter
from consumers.dead_letters.store import DeadLetterStore, NotKept
from ops.addresses import command_settings
from ops.arguments import check_known
from ops.commands.shared_options import AsJson, OneTenant
from ops.errors import CommandError
from ops.printing import print_facts, print_json, print_line, print_table
from ops.tasks.dead_letter_facts import burial_facts, letter_facts
from streams.connection import connect
from streams.entry_ids import EntryId
from streams.keys import check_tenant

dead = typer.Typer(help="Entries that could not be applied.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option("--tenant", help="The tenant of the dead letters.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of entries.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters of the tenant.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Only those with this reason.")]
Group = Annotated[
    str | None, typer.Option("--group", help="Only those that this group could not apply.")
]


@dead.command("list")
def list_letters(
    *,
    tenant: OneTenant = None,
    reason: Reason = None,
    group: Group = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most that are listed.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, each tenant's newest first."""
    dead_letters = _dead_letters(tenant)
    tenants = dead_letters.tenants() if tenant is None else [tenant]
    found = chain.from_iterable(
        dead_letters.letters(name, reason=reason, group=group) for name in tenants
    )
    letters = list(islice(found, limit))
    if as_json:
        print_json([_facts(letter) for letter in letters])
        return
    _print_table(letters)
    if next(found, None) is not None:
        print_line(f"the first {limit}; there are more: --limit")


@dead.command()
def show(
    tenant: Tenant,
    id: Annotated[str, typer.Argument(help="The entry's id.")],  # noqa: A002 - the contract's word
    *,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter with its bytes."""
    entry = _id(id)
    letter = _dead_letters(tenant).find(tenant, str(entry))
    if letter is None:
        raise _unknown(tenant, [entry])
    if as_json:
        print_json(_facts(letter) | _content(letter))
        return
    print_facts(_facts(letter) | {"groups": ", ".join(letter.groups)})
    # Not in the table, whose cells break lines: it must be possible to copy the event.
    if letter.event is not None:
        print_line(_decoded(letter.event))
    for field, found in letter.others:
        print_line(f"{_decoded(field)}: {_decoded(found)}")


@dead.command()
def requeue(
    tenant: Tenant,
    ids: Ids = None,
    *,
    all_: All = False,
    reason: Reason = None,
    group: Group = None,
    as_json: AsJson = False,
) -> None:
    """Append entries again, oldest first, once the cause of their failure is removed."""
    wanted = _wanted(ids, all_=all_, filtered=reason is not None or group is not None)
    # No consumer reads the stream of a name that is not valid.
    dead_letters = _dead_letters(check_tenant(tenant))

    def act(letter: Letter) -> bool:
        try:
            return dead_letters.requeue(letter) is not None
        except NotKept as error:
            raise CommandError(str(error)) from None

    if wanted:
        _act_on(dead_letters, tenant, wanted, "requeued", act, as_json=as_json)
    else:
        letters = dead_letters.letters(tenant, reason=reason, group=group, oldest_first=True)
        _report("requeued", sum(map(act, letters)), as_json=as_json)


@dead.command()
def discard(
    tenant: Tenant,
    ids: Ids = None,
    *,
    all_: All = False,
    reason: Reason = None,
    group: Group = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm --all.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters permanently."""
    wanted = _wanted(ids, all_=all_, filtered=reason is not None or group is not None)
    dead_letters = _dead_letters(tenant)
    if wanted:
        _act_on(dead_letters, tenant, wanted, "discarded", dead_letters.discard, as_json=as_json)
        return
    letters = dead_letters.letters(tenant, reason=reason, group=group)
    if not yes:
        raise CommandError(
            f"this would delete {sum(1 for _ in letters)} dead letters of tenant {tenant}"
            " permanently: confirm it with --yes"
        )
    _report("discarded", sum(map(dead_letters.discard, letters)), as_json=as_json)


def _dead_letters(tenant: str | None) -> DeadLetterStore:
    settings = command_settings()
    client = connect(settings.require_redis_url())
    if tenant is not None:
        check_known(client, tenant)
    return DeadLetterStore(client, max_event_bytes=settings.max_event_bytes)


def _wanted(ids: list[str] | None, *, all_: bool, filtered: bool) -> list[EntryId]:
    """Return the given ids, oldest first; none with --all."""
    if bool(ids) == all_:
        raise CommandError("pass the ids of dead letters, or --all")
    if ids and filtered:
        raise CommandError("--reason and --group go with --all")
    return sorted({_id(text) for text in ids or ()})


def _id(text: str) -> EntryId:
    try:
        return EntryId.parse(text)
    except ValueError:
        raise CommandError(f"{text!r} is not the id of a dead letter") from None


def _act_on(
    dead_letters: DeadLetterStore,
    tenant: str,
    ids: list[EntryId],
    done: str,
    act: Callable[[Letter], bool],
    *,
    as_json: bool,
) -> None:
    """Call `act` for each letter, report the count, and raise for ids that have no letter."""
    gone = [
        each
        for each in ids
        if (letter := dead_letters.find(tenant, str(each))) is None or not act(letter)
    ]
    if len(gone) < len(ids):
        _report(done, len(ids) - len(gone), as_json=as_json)
    if gone:
        raise _unknown(tenant, gone)


def _unknown(tenant: str, ids: list[EntryId]) -> CommandError:
    names = ", ".join(map(str, ids))
    return CommandError(f"tenant {tenant} has no dead letter {names}")


def _report(done: str, count: int, *, as_json: bool) -> None:
    if as_json:
        print_json({done: count})
    else:
        print_line(f"{done} {count} dead letter{'' if count == 1 else 's'}")


def _print_table(letters: list[Letter]) -> None:
    names = "tenant id buried_at group reason deliveries detail".split()
    rows = ([facts[name] for name in names] for facts in map(_facts, letters))
    print_table(names, rows, unwrapped=["id"])


def _facts(letter: Letter) -> dict[str, Any]:
    facts = letter_facts(letter)
    buried = facts["buried_at"].isoformat(timespec="milliseconds")
    return facts | {"buried_at": buried.replace("+00:00", "Z")}


def _content(letter: Letter) -> dict[str, Any]:
    event = {} if letter.event is None else _as_json("event", letter.event)
    others = [_as_json("name", name) | _as_json("value", value) for name, value in letter.others]
    burials = [burial_facts(each) for each in letter.rejections]
    return event | {"other_fields": others, "burials": burials}


def _as_json(name: str, raw: bytes) -> dict[str, str]:
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(raw).decode()}


def _decoded(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
