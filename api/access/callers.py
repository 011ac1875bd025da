"""The caller of a request, from its headers or, for browsers' `EventSource`, from its query.

Used by every endpoint that needs a caller (`api.jobs`, `api.live`, `api.operators`,
`api.progress`).
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.types import Scope

from api.access.auth import Authenticator, Caller
from api.http.problems import BadRequest

MAX_FIELDS = 100
"""The most fields of a query that are accepted."""


def caller_of(authenticator: Authenticator, scope: Scope, *, in_query: bool = False) -> Caller:
    """Return the caller of a request.

    Args:
        authenticator: the authenticator of the application.
        scope: the request.
        in_query: whether `?access_token=` and `?tenant=` replace missing headers, because an
            `EventSource` cannot send headers.

    Raises:
        BadCredentials, TenantMissing: as raised by the authenticator.
        BadRequest: a header or a parameter with credentials is repeated, or the query has more than
            `MAX_FIELDS` fields.
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
    """Raise BadRequest for repeated credentials, of which a proxy may have checked another one."""
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
