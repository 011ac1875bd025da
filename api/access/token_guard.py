"""A limit on invalid tokens, for each client address, against attempts to find a valid one.

Every token is verified first, and only failures count. A valid token is never refused because of
invalid ones from the same address: all callers behind one proxy may share that address. Used by
`api.access.request_guard`.
"""

from __future__ import annotations

from starlette.types import Scope

from api.access.auth import Authenticator, Caller
from api.access.client_address import ClientAddresses
from api.access.limits import Buckets, TooManyRequests
from api.http.problems import BadCredentials

BURST_SECONDS = 60.0
"""The size of a burst: the invalid tokens that the rate allows in this time, but at least one.

It is long because invalid tokens are mostly expired ones. After a weekend, all pages behind one
address send theirs within seconds, and only a 401 makes them get new ones.
"""


class TokenGuard:
    """An authenticator that answers 429 instead of 401 to an address with many invalid tokens.

    Args:
        inner: the authenticator that verifies the tokens.
        rate: the invalid tokens per second that one address may send.
        addresses: determines the address of a request's client.
    """

    def __init__(self, inner: Authenticator, rate: float, addresses: ClientAddresses) -> None:
        self._inner = inner
        self._buckets = Buckets(rate, burst_seconds=BURST_SECONDS)
        self._addresses = addresses

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:
        """Return the caller.

        Raises:
            TooManyRequests: the token is invalid, and the address has sent too many of those.
            BadCredentials, TenantMissing: as raised by the inner authenticator.
        """
        try:
            return self._inner.identify(authorization, tenant, scope)
        except BadCredentials:
            if authorization is None:  # a missing token is no attempt
                raise
            if wait := self._buckets.take(self._addresses.of(scope)):
                raise TooManyRequests(wait) from None
            raise
