"""Authentication: which tenant a request is for, and which of the tenant's jobs it may read.

The *caller* comes from a signed token (`JOBTRAIL_AUTH=jwt`) or, on a developer's machine, from a
header that is trusted without proof (`JOBTRAIL_AUTH=dev`). Tokens are secrets: they are never
logged and never part of an error. `api.app` makes the authenticator; endpoints use it through
`api.access.callers`. Used by `api`, `ops.tasks.tokens` and `ops.tasks.up`.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple, Protocol

import jwt
from starlette.types import Scope

from api.access.listening import on_loopback_only
from api.access.token_keys import TokenKey, token_keys
from api.http.problems import BadCredentials, TenantMissing
from streams.keys import TENANT
from streams.kinds import KINDS
from streams.settings import Settings, SettingsError

Claims = Mapping[str, Any]

CACHED_TOKENS = 4_096
"""The number of verified tokens that are cached: a frontend polls with one token, and verifying it
takes longer than all other work for an answer."""

OPS = "ops"
"""The scope for the console and the operators' endpoints, with all actions."""

OPS_READ = "ops:read"
"""The scope for the same without any action."""

_CHECKS: Any = {
    # No setting names the issuer or the audience, so only the claims about time are checked.
    "verify_aud": False,
    "verify_iss": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}


class Caller(NamedTuple):
    """The identity and the permissions of a request."""

    tenant: str
    allowed_ids: Mapping[str, frozenset[str]] | None
    """The ids of the jobs that the caller may read, by kind; None for all jobs of the tenant."""
    scopes: frozenset[str]
    identity: Hashable = None
    """The key for rate limits: the token's subject, or a hash of the token without one."""
    expires: float = inf
    """When the token expires, in seconds since 1970. A live stream ends soon after that."""
    subject: str | None = None
    """The token's claim `sub`, which the record of operators' actions has; None without one."""

    def may_read(self, kind: str, job_id: str) -> bool:
        """Return whether the caller may read a job of their tenant."""
        return self.allowed_ids is None or job_id in self.allowed_ids.get(kind, ())


class Authenticator(Protocol):
    """An object that identifies callers."""

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:
        """Return the caller.

        Args:
            authorization: the value of `Authorization`, which the `jwt` mode uses.
            tenant: the value of `X-Tenant-ID`, which the `dev` mode uses.
            scope: the request that contains these headers.

        Raises:
            BadCredentials: there is no valid token.
            TenantMissing: there is no tenant, or its name is not valid.
        """
        ...


def authenticator(settings: Settings) -> Authenticator:
    """Return the authenticator of the mode in `JOBTRAIL_AUTH`.

    Raises:
        SettingsError: keys are missing or wrong, or the mode is not safe for the listening address.
    """
    if settings.auth == "jwt":
        return TokenAuthenticator(
            token_keys(settings), expiry_required=settings.tokens_without_exp == "refuse"
        )
    if not on_loopback_only(settings.api_host):
        raise SettingsError(
            f"JOBTRAIL_AUTH=dev trusts every caller, so JOBTRAIL_API_HOST={settings.api_host} "
            "is not allowed: listen on 127.0.0.1, or use JOBTRAIL_AUTH=jwt"
        )
    return TrustingAuthenticator()


class TrustingAuthenticator:
    """An authenticator that trusts the tenant in the header; for loopback addresses only."""

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:  # noqa: ARG002 - for the other mode
        """Return a caller of the named tenant, who is an operator too."""
        return Caller(_tenant(tenant), None, frozenset({OPS}))


class TokenAuthenticator:
    """An authenticator that verifies JSON Web Tokens.

    Args:
        keys: the keys that tokens may be signed with.
        expiry_required: whether to refuse tokens without `exp`, which would be valid forever.
    """

    def __init__(self, keys: list[TokenKey], *, expiry_required: bool = True) -> None:
        self._keys = keys
        self._options: Any = {**_CHECKS, "require": ["exp"] if expiry_required else []}
        self._cache: dict[str, Caller] = {}
        """By the full value of the header."""

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:  # noqa: ARG002 - for the other mode
        """Return the caller of a bearer token, from the cache unless the token has expired."""
        if authorization is None:
            raise BadCredentials
        cached = self._cache.get(authorization)
        if cached is not None and time.time() < cached.expires:
            return cached
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise BadCredentials
        claims, expires = self._verify(token)
        caller = _caller(claims, token, expires)
        self._add_to_cache(authorization, caller)
        return caller

    def _verify(self, token: str) -> tuple[Claims, float]:
        """Return the claims of a token that one of the keys signed, and when it expires."""
        try:
            header = jwt.get_unverified_header(token)
            for key in self._keys:
                if key.fits(header):
                    with suppress(jwt.InvalidSignatureError):
                        claims = jwt.decode(
                            token, key.key, algorithms=[key.algorithm], options=self._options
                        )
                        return claims, float(int(claims["exp"])) if "exp" in claims else inf
        # A claim may be a number beyond the range of `float` and of dates.
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError):
            raise BadCredentials from None
        raise BadCredentials

    def _add_to_cache(self, authorization: str, caller: Caller) -> None:
        if len(self._cache) >= CACHED_TOKENS:
            del self._cache[next(iter(self._cache))]
        self._cache[authorization] = caller


def _caller(claims: Claims, token: str, expires: float) -> Caller:
    scope, subject = claims.get("scope"), claims.get("sub")
    return Caller(
        _tenant(claims.get("tenant_id")),
        _allowed_ids(claims),
        frozenset(scope.split()) if isinstance(scope, str) else frozenset(),
        # The signed part has one spelling; the signature has several. The token is not kept.
        subject if isinstance(subject, str) else hash(token.rpartition(".")[0]),
        expires,
        subject if isinstance(subject, str) else None,
    )


def _tenant(name: object) -> str:
    """Return a tenant's name as text, also for an integer; raise TenantMissing if it is not valid.

    A boolean is not valid, although Python counts it as an integer.
    """
    tenant = str(name) if type(name) is int else name
    if not isinstance(tenant, str) or not TENANT.match(tenant):
        raise TenantMissing
    return tenant


def _allowed_ids(claims: Claims) -> Mapping[str, frozenset[str]] | None:
    """Return the ids to which a token is limited, by kind; None if it is not limited.

    In a limited token, a kind without a list has no readable ids.
    """
    lists = {kind.name: claims[kind.plural] for kind in KINDS.values() if kind.plural in claims}
    if not all(isinstance(ids, list) for ids in lists.values()):
        raise BadCredentials
    return {kind: frozenset(map(str, ids)) for kind, ids in lists.items()} or None
