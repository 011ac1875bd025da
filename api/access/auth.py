"""Who is asking: a tenant, and what of the tenant's they may read.

The *caller* comes from a signed token or, on a developer's own machine, from a header that is
believed. Tokens are secrets: they are never logged and never part of an error.
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

REMEMBERED_TOKENS = 4_096
"""A frontend polls with one token; to verify it takes longer than all the rest of an answer."""

OPS = "ops"
"""The scope of the console and of operators' endpoints."""

_CHECKS: Any = {
    # No setting says who else's tokens these are, so only what bears on time is checked.
    "verify_aud": False,
    "verify_iss": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}


class Caller(NamedTuple):
    """Who asks, as far as it matters here."""

    tenant: str
    only: Mapping[str, frozenset[str]] | None
    """The ids that may be read, by kind; None: all of the tenant's."""
    scopes: frozenset[str]
    identity: Hashable = None
    """The one who asks, for limits: the token's subject, or else what was signed."""
    expires: float = inf
    """When the token does, in seconds since 1970: an answer that goes on ends then."""

    def may_read(self, kind: str, job_id: str) -> bool:
        """Whether a job of the caller's tenant is one that the caller may know of."""
        return self.only is None or job_id in self.only.get(kind, ())


class Authenticator(Protocol):
    """Tells who is asking."""

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:
        """Read the `Authorization` and `X-Tenant-ID` headers; each mode believes one of them.

        `scope` is the request that they came with.

        Raises:
            BadCredentials: there is no valid token.
            TenantMissing: no tenant is named, or none of the allowed form.
        """
        ...


def authenticator(settings: Settings) -> Authenticator:
    """Make the authenticator that the settings ask for.

    Raises:
        SettingsError: keys are missing or wrong, or the mode is not safe where the API listens.
    """
    if settings.auth == "jwt":
        return TokenAuthenticator(
            token_keys(settings), expiry_required=settings.tokens_without_exp == "refuse"
        )
    if not on_loopback_only(settings.api_host):
        raise SettingsError(
            f"JOBTRAIL_AUTH=dev believes every caller, so JOBTRAIL_API_HOST={settings.api_host} "
            "will not do: listen on 127.0.0.1, or use JOBTRAIL_AUTH=jwt"
        )
    return TrustingAuthenticator()


class TrustingAuthenticator:
    """Believes the tenant that a caller names; for loopback addresses only."""

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:  # noqa: ARG002 - the other mode's
        """Take the tenant as it is named; every caller is an operator too."""
        return Caller(_tenant(tenant), None, frozenset({OPS}))


class TokenAuthenticator:
    """Believes JSON Web Tokens signed by one of the keys.

    Args:
        keys: the keys that tokens may be signed with.
        expiry_required: refuse tokens without an `exp` claim, which would be valid for ever.
    """

    def __init__(self, keys: list[TokenKey], *, expiry_required: bool = True) -> None:
        self._keys = keys
        self._options: Any = {**_CHECKS, "require": ["exp"] if expiry_required else []}
        self._remembered: dict[str, Caller] = {}
        """By the whole value of the header, which names a token in one spelling of several."""

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:  # noqa: ARG002 - the other mode's
        """Verify the bearer's token, unless it is remembered and has not expired since."""
        if authorization is None:
            raise BadCredentials
        remembered = self._remembered.get(authorization)
        if remembered is not None and time.time() < remembered.expires:
            return remembered
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise BadCredentials
        claims, until = self._verified(token)
        caller = _caller(claims, token, until)
        self._remember(authorization, caller)
        return caller

    def _verified(self, token: str) -> tuple[Claims, float]:
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
        # A claim may be a number that no `float` or date can hold.
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError):
            raise BadCredentials from None
        raise BadCredentials

    def _remember(self, authorization: str, caller: Caller) -> None:
        if len(self._remembered) >= REMEMBERED_TOKENS:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[authorization] = caller


def _caller(claims: Claims, token: str, expires: float) -> Caller:
    scope, subject = claims.get("scope"), claims.get("sub")
    return Caller(
        _tenant(claims.get("tenant_id")),
        _only(claims),
        frozenset(scope.split()) if isinstance(scope, str) else frozenset(),
        # What was signed has one spelling; the signature beside it has several. No token is kept.
        subject if isinstance(subject, str) else hash(token.rpartition(".")[0]),
        expires,
    )


def _tenant(named: object) -> str:
    """Check a tenant's name; a number is one too, a truth value is not."""
    tenant = str(named) if type(named) is int else named
    if not isinstance(tenant, str) or not TENANT.match(tenant):
        raise TenantMissing
    return tenant


def _only(claims: Claims) -> Mapping[str, frozenset[str]] | None:
    """Read the lists that narrow the token. One list narrows it to that list alone."""
    lists = {kind.name: claims[kind.plural] for kind in KINDS.values() if kind.plural in claims}
    if not all(isinstance(ids, list) for ids in lists.values()):
        raise BadCredentials
    return {kind: frozenset(map(str, ids)) for kind, ids in lists.items()} or None
