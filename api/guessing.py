"""Guessing of tokens: an address that sends bad ones may try a few a second and no more.

While an address is over its limit, tokens from it that nobody has seen work are refused unread.
Those that did work just before go on: behind one proxy all callers share an address, and one who
guesses must not be able to lock out the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from starlette.types import Scope

from api.limits import Buckets, TooManyRequests
from streams.kinds import KINDS

ALERT_SECONDS = 60.0
"""How long after the last bad token anything of this is done at all."""

_NEVER = float("-inf")
_ASKS_WHO = ("/api/", *(f"{kind.url}/" for kind in KINDS.values()))
"""Where nobody is served without a good token: only there does an answer say that one is."""

PROVEN = 4_096
"""Tokens that are known to work while somebody guesses."""


class Guard:
    """Watches for bad tokens; costs two comparisons a request while there are none."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = Buckets(rate, clock)
        self._clock = clock
        self._alert_until = _NEVER
        self._proven: dict[int, None] = {}

    def check(self, scope: Scope) -> None:
        """Let a request in.

        Raises:
            TooManyRequests: its address guesses, and its token is not known to work.
        """
        if self._alert_until == _NEVER:
            return
        if self._clock() > self._alert_until:
            self._calm_down()
            return
        sent = _credential(scope)
        if sent is not None and sent not in self._proven:
            wait = self._buckets.wait(_address(scope))
            if wait:
                raise TooManyRequests(wait)

    def answered(self, scope: Scope, status: int) -> None:
        """Learn from an answer."""
        if status == 401:
            if _credential(scope) is not None:
                self._alert_until = self._clock() + ALERT_SECONDS
                self._buckets.take(_address(scope))
        elif self._alert_until > _NEVER and status < 400 and scope["path"].startswith(_ASKS_WHO):
            self._remember(_credential(scope))

    def _remember(self, sent: int | None) -> None:
        if sent is not None:
            self._proven[sent] = None
            if len(self._proven) > PROVEN:
                del self._proven[next(iter(self._proven))]

    def _calm_down(self) -> None:
        self._alert_until = _NEVER
        self._proven.clear()
        self._buckets.clear()


def _credential(scope: Scope) -> int | None:
    """Give a hash of what a request proves itself with, or None where it does not try."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return hash(value)
    query: bytes = scope["query_string"]
    return hash(query) if b"access_token=" in query else None


def _address(scope: Scope) -> str:
    """Give who is at the other end; of IPv6 the network, in which one host has any address."""
    client = scope.get("client")
    host = str(client[0]) if client else ""
    try:
        found = ip_address(host)
    except ValueError:
        return host
    return found.exploded[:19] if isinstance(found, IPv6Address) else host
