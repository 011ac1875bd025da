"""Path and query parameters of the operators' endpoints for dead letters.

Unless its docstring says otherwise, a function raises BadRequest with the parameter's name if the
value is not valid. Used by `api.operators.letters.endpoints` and
`api.spec.operations.dead_letters`.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from api.http.cursors import read_cursor
from api.http.problems import BadRequest
from api.operators.letters.view import LetterPlace, LetterSelection
from api.operators.parameters import tenant_of, text_of
from streams.entry_ids import EntryId
from streams.keys import TENANT

MAX_DETAIL = 500
"""The most characters of a dead letter's detail."""

MAX_TIME = 253_402_300_799_999
"""The end of the year 9999, in milliseconds since 1970."""


def selection_of(request: Request) -> LetterSelection:
    """Return the filters of dead letters."""
    return LetterSelection(
        tenant=tenant_of(request.query_params.get("tenant")),
        reason=text_of(request, "reason"),
        detail=text_of(request, "detail", MAX_DETAIL),
        group=text_of(request, "group"),
        type=text_of(request, "type"),
        job_type=text_of(request, "job_type"),
        kind=text_of(request, "kind"),
        until=time_of(request, "until"),
    )


def time_of(request: Request, name: str) -> int | None:
    """Return a time in milliseconds since 1970; None if it is missing or empty."""
    text = request.query_params.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= MAX_TIME):
        raise BadRequest(parameter=name)
    return int(text)


def place_of(request: Request, list_identity: Sequence[object]) -> LetterPlace | None:
    """Return the place in a cursor of dead letters of all tenants; None without a cursor."""
    text = request.query_params.get("cursor")
    if not text:
        return None
    values: object = read_cursor(list_identity, text)
    if not (isinstance(values, list) and [type(each) for each in values] == [str, str]):
        raise BadRequest(parameter="cursor")
    place = LetterPlace(*values)
    if not is_entry_id(place.letter) or any(each > "\xff" for each in place.tenant):
        raise BadRequest(parameter="cursor")
    return place


def entries_of(request: Request, maximum: int) -> list[tuple[str, str]]:
    """Return tenants and entry ids from parameters `entry` of the form `TENANT/ID`."""
    texts = request.query_params.getlist("entry")
    pairs = [(tenant, entry) for tenant, _, entry in (text.partition("/") for text in texts)]
    if not 0 < len(pairs) <= maximum:
        raise BadRequest(parameter="entry", reason=f"1 to {maximum} are accepted")
    if not all(TENANT.match(tenant) and is_entry_id(entry) for tenant, entry in pairs):
        raise BadRequest(parameter="entry", reason="must be a tenant, a slash and an entry id")
    return pairs


def is_entry_id(text: str) -> bool:
    """Return whether a text is an entry id."""
    try:
        EntryId.parse(text)
    except ValueError:
        return False
    return True
