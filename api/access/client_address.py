"""The network address of a client, also behind reverse proxies.

Only proxies listed in the settings are trusted. Of the addresses in their header, the last one that
is not a trusted proxy's counts, because a client can put anything before it. Used by
`api.access.token_guard`, `api.access.request_guard` and `api.access.silent_connections`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from streams.settings import Settings, SettingsError

Network = IPv4Network | IPv6Network

NETWORK_BITS = 64
"""The prefix length of an IPv6 network; a host can use every address of its network."""


class ClientAddresses:
    """Determines the addresses of clients.

    Args:
        header: the header field, in lower case, in which trusted proxies send the client's address.
        proxies: the networks of trusted proxies.
    """

    def __init__(self, header: bytes | None = None, proxies: Sequence[Network] = ()) -> None:
        self._header = header
        self._proxies = proxies

    @classmethod
    def from_settings(cls, settings: Settings) -> ClientAddresses:
        """Return an instance with the header and the proxies from the settings.

        Raises:
            SettingsError: a network is not valid, or only one of the two settings is set.
        """
        header, proxies = settings.client_address_header, settings.trusted_proxies
        if header is None and proxies is None:
            return cls()
        if header is None or proxies is None:
            raise SettingsError(
                "JOBTRAIL_CLIENT_ADDRESS_HEADER and JOBTRAIL_TRUSTED_PROXIES belong together: set "
                "both, for example X-Real-IP and 127.0.0.1"
            )
        try:
            networks = [ip_network(each.strip()) for each in proxies.split(",")]
        except ValueError as error:
            raise SettingsError(
                f"JOBTRAIL_TRUSTED_PROXIES: {error}: set addresses and networks, for example "
                "127.0.0.1,10.0.0.0/8"
            ) from None
        return cls(header.lower().encode(), networks)

    def of(self, scope: Scope) -> str:
        """Return the address of a request's client; for IPv6, its network of 64 bits."""
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        stated = self._stated(scope) if self._header and self._is_proxy(peer) else None
        return network_of(stated or peer)

    def _stated(self, scope: Scope) -> str | None:
        """Return the last address in the header that is not a trusted proxy's, if it is valid."""
        values = [value for name, value in scope["headers"] if name == self._header]
        addresses = b",".join(values).decode("latin-1").split(",")
        for address in map(str.strip, reversed(addresses)):
            if not self._is_proxy(address):
                return address if _parsed(address) is not None else None
        return None

    def _is_proxy(self, address: str) -> bool:
        found = _parsed(address)
        return found is not None and any(found in network for network in self._proxies)


def _parsed(address: str) -> object:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def network_of(address: str) -> str:
    """Return the normalized address; for IPv6, the network of 64 bits that contains it."""
    found = _parsed(address)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, NETWORK_BITS), strict=False))
    return address if found is None else str(found)
