"""Path and query parameters of the operators' endpoints.

Unless its docstring says otherwise, a function raises BadRequest with the parameter's name if the
value is not valid. Used by the modules of this folder that have endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from api.http.cursors import MAX_LENGTH, read_cursor
from api.http.problems import BadRequest, NoSuchPage
from projections.reading.all_tenants.job_list import OperatorFilter
from streams.events import dump_json
from streams.keys import JOB_ID, TENANT, JobKey
from streams.kinds import KINDS, State

MAX_TEXT = 200
"""The most characters of a text parameter."""

LABEL = "label."
"""The prefix of a filter by label: `label.NAME=VALUE`."""

MAX_LABELS = 5
"""The most filters by label."""

MAX_LABEL = 256
"""The most characters of a label's value."""

_PART = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
"""A part of a job's id."""

MAX_CURSOR = MAX_LENGTH
"""The most characters of a cursor."""


def number_of(request: Request, name: str, default: int, maximum: int) -> int:
    """Return a positive integer, at most `maximum`; the default if it is missing."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0):
        raise BadRequest(parameter=name)
    return min(int(text), maximum)


def text_of(request: Request, name: str, max_length: int = MAX_TEXT) -> str | None:
    """Return a text; None if it is missing or empty."""
    text = request.query_params.get(name) or None
    if text is not None and not _is_valid(text, max_length):
        raise BadRequest(parameter=name)
    return text


def tenant_of(text: str | None) -> str | None:
    """Return a tenant's name; None if it is missing or empty."""
    if text and not TENANT.match(text):
        raise BadRequest(parameter="tenant")
    return text or None


def filter_of(request: Request) -> OperatorFilter:
    """Return the filters of a list of jobs."""
    kind, state = text_of(request, "kind"), text_of(request, "state")
    if kind is not None and kind not in KINDS:
        raise BadRequest(parameter="kind")
    if state is not None and state not in set(State):
        raise BadRequest(parameter="state")
    return OperatorFilter(
        tenant=tenant_of(request.query_params.get("tenant")),
        kind=kind,
        state=state,
        job_type=text_of(request, "job_type"),
        prefix=_matching(request, "id", JOB_ID),
        part=part_of(request, "part"),
        worker=text_of(request, "worker"),
        code=text_of(request, "code"),
        labels=_labels_of(request),
        since=_moment_of(request, "since"),
        until=_moment_of(request, "until"),
    )


def part_of(request: Request, name: str) -> str | None:
    """Return a part of an id or of a tenant's name; None if it is missing or empty."""
    return _matching(request, name, _PART)


def _matching(request: Request, name: str, pattern: re.Pattern[str]) -> str | None:
    text = text_of(request, name)
    if text is not None and not pattern.match(text):
        raise BadRequest(parameter=name)
    return text


def _labels_of(request: Request) -> str | None:
    """Return the filters `label.NAME=VALUE` as a JSON object; None without any."""
    labels = {}
    for name, value in request.query_params.items():
        if name.startswith(LABEL):
            if not (name != LABEL and _is_valid(name) and _is_valid(value, MAX_LABEL)):
                raise BadRequest(parameter=name[:MAX_TEXT])
            labels[name.removeprefix(LABEL)] = value
    if len(labels) > MAX_LABELS:
        raise BadRequest(parameter="label", reason=f"more than {MAX_LABELS}")
    return dump_json(dict(sorted(labels.items()))).decode() if labels else None


def _moment_of(request: Request, name: str) -> str | None:
    """Return an RFC 3339 time in UTC; None if it is missing."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        # In a query, the unescaped + of an offset has become a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        if moment.tzinfo is None:
            raise BadRequest(parameter=name, reason="the offset from UTC is missing")
        return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise BadRequest(parameter=name) from None


def job_of(request: Request) -> JobKey:
    """Return the job in a path; raise NoSuchPage if its key is not valid."""
    tenant, kind, job_id = (request.path_params[name] for name in ("tenant", "kind", "job_id"))
    if not TENANT.match(tenant) or kind not in KINDS or not JOB_ID.match(job_id):
        raise NoSuchPage
    return JobKey(tenant, kind, job_id)


def cursor_of(
    request: Request, list_identity: Sequence[object], types: Sequence[type]
) -> Sequence[Any] | None:
    """Return the values in a cursor; None if it is missing or empty.

    Args:
        request: the request.
        list_identity: the values that the cursor was written with.
        types: the types of its values, `str` or `int`.
    """
    text = request.query_params.get("cursor")
    if not text:
        return None
    values: object = read_cursor(list_identity, text)
    if not isinstance(values, list) or [type(each) for each in values] != list(types):
        raise BadRequest(parameter="cursor")
    if not all(_is_valid(each) if isinstance(each, str) else 0 <= each < 2**63 for each in values):
        raise BadRequest(parameter="cursor")
    return values


def _is_valid(text: str, max_length: int = MAX_TEXT) -> bool:
    """Return whether PostgreSQL can store a text, and it is not too long."""
    storable = "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)
    return storable and len(text) <= max_length
