"""The caller of a request: from its headers, or from its query where a browser sends no headers."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.types import Scope

from api.access.auth import Authenticator, Caller
from api.http.problems import BadRequest

MAX_FIELDS = 100
"""Fields of a query that are read at all."""


def caller_of(authenticator: Authenticator, scope: Scope, *, in_query: bool = False) -> Caller:
    """Tell who asks.

    `in_query` believes `?access_token=` and `?tenant=` too where the headers say nothing: a
    browser's EventSource sends none of its own.

    Raises:
        BadCredentials, TenantMissing: as the authenticator says.
        BadRequest: one of them is there more than once, or the query has a great many fields.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if len(headers) != len(scope["headers"]):
        _check_single(scope["headers"])
    authorization = _text(headers.get(b"authorization"))
    tenant = _text(headers.get(b"x-tenant-id"))
    if in_query and scope["query_string"]:
        query = _query(scope["query_string"])
        token = _single(query, "access_token")
        authorization = authorization or (token and f"Bearer {token}")
        tenant = tenant or _single(query, "tenant")
    return authenticator.identify(authorization, tenant, scope)


def _check_single(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse what a proxy in front could read in another way than this process does."""
    names = [name for name, _ in headers]
    for name in (b"authorization", b"x-tenant-id"):
        if names.count(name) > 1:
            raise BadRequest(parameter=name.decode())


def _query(raw: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(raw.decode("latin-1"), max_num_fields=MAX_FIELDS)
    except ValueError:
        raise BadRequest(parameter="*") from None


def _single(query: dict[str, list[str]], name: str) -> str | None:
    values = query.get(name, [None])
    if len(values) > 1:
        raise BadRequest(parameter=name)
    return values[0]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
