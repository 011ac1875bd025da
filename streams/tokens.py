"""Tokens with which a product's pages and programs read the progress API.

A backend makes a token for each page that it renders, with the secret that the API has too
(`JOBTRAIL_JWT_SECRET`). The token names one tenant and, where ids are given, the only jobs that it
may read. It needs PyJWT: `pip install 'jobtrail-sdk[tokens]'`. Used by `ops.tasks.tokens`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta

from .keys import JOB_ID, check_tenant

SECRET_BYTES = 32
"""The least bytes of a secret, which the API requires too."""
DEFAULT_SECONDS = 600.0
OPERATORS = "ops"
"""The scope for the console and the operators' endpoints."""

Ids = Iterable[str | int]


def make_token(
    secret: str,
    *,
    tenant: str | int,
    jobs: Ids | None = None,
    videos: Ids | None = None,
    other_ids: Mapping[str, Ids] | None = None,
    ttl: float | timedelta = DEFAULT_SECONDS,
    scope: str | None = None,
    subject: str | None = None,
) -> str:
    """Return a signed token (JWT, HS256).

    Without ids it may read all jobs of the tenant. With ids of one kind it may read these only, and
    none of the other kinds.

    Args:
        secret: the secret of the API, at least 32 bytes.
        tenant: the tenant that may be read.
        jobs: ids of jobs.
        videos: ids of videos.
        other_ids: ids of kinds that packages add, by the kind's plural name.
        ttl: how long it is valid, in seconds or as a timedelta.
        scope: `ops` for the console and the operators' endpoints.
        subject: the user, by whom the API counts requests where it limits their rate.

    Raises:
        InvalidTenant: the tenant's name is not valid.
        ValueError: the secret is too short, an id is not valid, or `ttl` is not above 0.
        ModuleNotFoundError: PyJWT is not installed.
    """
    optional = {"scope": scope, "sub": subject}
    claims = {
        "tenant_id": check_tenant(str(tenant)),
        **_times(ttl),
        **_lists({"jobs": jobs, "videos": videos, **(other_ids or {})}),
        **{name: value for name, value in optional.items() if value is not None},
    }
    return _signed(claims, secret)


def _times(ttl: float | timedelta) -> dict[str, int]:
    """Return the claims of a token's beginning and end, in seconds since 1970."""
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if not seconds > 0:
        raise ValueError(f"ttl must be above 0 seconds, not {seconds:g}")
    now = time.time()
    return {"iat": int(now), "exp": int(now + max(seconds, 1))}


def _lists(ids: Mapping[str, Ids | None]) -> dict[str, list[str]]:
    found = {name: list(map(str, some)) for name, some in ids.items() if some is not None}
    for name, some in found.items():
        for each in some:
            if not JOB_ID.match(each):
                raise ValueError(f"{name}: {each!r} is not a valid id")
    return found


def _signed(claims: Mapping[str, object], secret: str) -> str:
    if len(secret.encode()) < SECRET_BYTES:
        raise ValueError(f"the secret must have at least {SECRET_BYTES} bytes")
    try:
        import jwt  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "tokens need PyJWT: pip install 'jobtrail-sdk[tokens]'", name=error.name
        ) from None
    return jwt.encode(dict(claims), secret, algorithm="HS256")
