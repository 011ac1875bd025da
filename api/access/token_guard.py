"""Limits on bad tokens: one address may send a few a second and no more.

Every token is verified first, and only failures count. A valid token is never refused for what
others send from the same address: behind one proxy all callers may share it.
"""

from __future__ import annotations

from starlette.types import Scope

from api.access.auth import Authenticator, Caller
from api.access.client_address import ClientAddresses
from api.access.limits import Buckets, TooManyRequests
from api.http.problems import BadCredentials


class GuardedAuthenticator:
    """Answers 429 in the place of 401 where an address sends too many bad tokens.

    Args:
        inner: verifies the tokens.
        rate: bad tokens a second that one address may send before it is told to wait.
        addresses: reads the address of a request's client.
    """

    def __init__(self, inner: Authenticator, rate: float, addresses: ClientAddresses) -> None:
        self._inner = inner
        self._buckets = Buckets(rate)
        self._addresses = addresses

    def identify(self, authorization: str | None, tenant: str | None, scope: Scope) -> Caller:
        """Identify the caller.

        Raises:
            TooManyRequests: the token is bad, as were too many from this address before it.
            BadCredentials, TenantMissing: as the inner authenticator raises them.
        """
        try:
            return self._inner.identify(authorization, tenant, scope)
        except BadCredentials:
            if authorization is None:  # a request without a token guesses nothing
                raise
            if wait := self._buckets.take(self._addresses.of(scope)):
                raise TooManyRequests(wait) from None
            raise
