"""Redis URLs: their parts, which are checked before a client is made of them.

Everything that can be checked without the server is checked here and in `url_options`, because the
client library ignores a database that is not a number. Used by `streams.connection` and
`streams.servers.quick_read`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from ..runtime.environment import is_utf8
from .url_options import (
    BAD_ESCAPE,
    ENCODE,
    SENTINEL_OPTIONS,
    InvalidUrl,
    check_tls,
    database,
    options_of,
)

SCHEMES = ("redis", "rediss", "unix")
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_HOST = re.compile(r"[^\s,/@\\]+")
_SERVICE = re.compile(r"[\w.-]+")
REDIS_PORT, SENTINEL_PORT = 6379, 26379


class Sentinels(NamedTuple):
    """The Sentinels of a URL, and the service whose primary they are asked for."""

    addresses: Sequence[tuple[str, int]]
    service: str
    login: Mapping[str, str]
    """Their own user and password, which are not those of the service's servers."""


class RedisUrl(NamedTuple):
    """A valid URL: its scheme, and the arguments for a connection."""

    scheme: str
    """`redis`, `rediss` or `unix`; with Sentinels, that of the connections to them and to Redis."""
    options: Mapping[str, Any]
    sentinels: Sentinels | None = None
    nodes: Sequence[tuple[str, int]] = ()
    """Addresses of some nodes of a cluster; none for other URLs."""


def parse_redis_url(url: str) -> RedisUrl:
    """Return the parts of a URL.

    Raises:
        InvalidUrl: it has another form, an unknown option, a value that is not valid, or the path
            of a certificate or key that cannot be read.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme.lower() in SENTINEL_SCHEMES:
        return _parse_sentinel_url(scheme.lower().partition("+")[0], rest)
    if separator and scheme.lower() in CLUSTER_SCHEMES:
        return _parse_cluster_url(scheme.lower().partition("+")[0], rest)
    parts = _split(url)
    options = dict(options_of(parts))
    if parts.scheme == "unix":
        address = _unix_address(parts)
    else:
        address = {**_tcp_address(parts), **_database_of(parts.path)}
    return RedisUrl(parts.scheme, {**_checked(options, address), **_credentials(parts), **address})


def _parse_sentinel_url(scheme: str, rest: str) -> RedisUrl:
    """Parse what follows the scheme: `[user:password@]host:port,host:port/SERVICE[/DB]`."""
    hosts = _split_hosts(scheme, rest)
    addresses = [_tcp_address(host) for host in hosts]
    service, _, number = hosts[0].path.removeprefix("/").partition("/")
    if not _SERVICE.fullmatch(service := _decoded(service)):
        raise InvalidUrl("its service is not valid" if service else "it names no service")
    path = _database_of(number)
    options = _checked(dict(options_of(hosts[0], SENTINEL_OPTIONS)), path)
    login = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in SENTINEL_OPTIONS
        if name in options
    }
    if "username" in login and "password" not in login:
        raise InvalidUrl("its option sentinel_username needs sentinel_password")
    found = [(each["host"], each.get("port", SENTINEL_PORT)) for each in addresses]
    arguments = {**options, **_credentials(hosts[0]), **path}
    return RedisUrl(scheme, arguments, Sentinels(found, service, login))


def _parse_cluster_url(scheme: str, rest: str) -> RedisUrl:
    """Parse what follows the scheme: `[user:password@]host:port,host:port`."""
    hosts = _split_hosts(scheme, rest)
    found = [_tcp_address(host) for host in hosts]
    options = dict(options_of(hosts[0]))
    if {**_database_of(hosts[0].path), **options}.get("db", 0):
        raise InvalidUrl("a cluster has no databases: leave the database out")
    options.pop("db", None)
    check_tls(options)
    nodes = [(each["host"], each.get("port", REDIS_PORT)) for each in found]
    return RedisUrl(scheme, {**options, **_credentials(hosts[0])}, None, nodes)


def _split_hosts(scheme: str, rest: str) -> list[SplitResult]:
    """Return the URLs of single hosts that a URL with several hosts stands for."""
    beyond = re.search(r"[/?#]|$", rest)
    begin = beyond.start() if beyond else len(rest)
    login, at, hosts = rest[:begin].rpartition("@")
    return [_split(f"{scheme}://{login}{at}{host}{rest[begin:]}") for host in hosts.split(",")]


def _checked(options: dict[str, Any], address: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, or raise InvalidUrl if they do not agree or name unusable files."""
    if "db" in address and "db" in options:
        raise InvalidUrl("the database is given twice, as the path and as the option db")
    check_tls(options)
    return options


def _split(url: str) -> SplitResult:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        raise InvalidUrl("its scheme is not known")
    if not is_utf8(url):
        raise InvalidUrl(f"it is not UTF-8: {ENCODE}")
    if _CONTROL.search(url):
        raise InvalidUrl("it contains a space or a control character")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidUrl("its host is not valid") from None
    beyond = f"{'' if parts.scheme == 'unix' else parts.path}{parts.query}"
    if parts.fragment or ("@" in beyond and "@" not in parts.netloc):
        raise InvalidUrl(ENCODE)
    return parts


def _tcp_address(parts: SplitResult) -> dict[str, Any]:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise InvalidUrl("its port must be a number from 1 to 65535")
    host = _decoded(parts.hostname or "")
    if not host:
        raise InvalidUrl("it names no host")
    if not _HOST.fullmatch(host) or not _can_be_looked_up(host):
        raise InvalidUrl("its host is not valid")
    address: dict[str, Any] = {"host": host}
    if port is not None:
        address["port"] = port
    return address


def _database_of(path: str) -> dict[str, int]:
    """Return the database that a path names, as an argument for a connection."""
    number = path.strip("/")
    return {"db": database(_decoded(number))} if number else {}


def _can_be_looked_up(host: str) -> bool:
    """Return True if the name can be resolved: no label is empty, or too long when encoded."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _unix_address(parts: SplitResult) -> dict[str, Any]:
    path = _decoded(parts.path)
    if parts.netloc.rpartition("@")[2]:
        raise InvalidUrl("the path of a socket begins with a third slash")
    if not path.strip("/"):
        raise InvalidUrl("it names no socket")
    return {"path": path}


def _credentials(parts: SplitResult) -> dict[str, Any]:
    given = {"username": parts.username, "password": parts.password}
    return {name: _decoded(value) for name, value in given.items() if value}


def _decoded(text: str) -> str:
    try:
        if BAD_ESCAPE.search(text):
            raise InvalidUrl(ENCODE)
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidUrl(ENCODE) from None
