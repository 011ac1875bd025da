"""Checks of a PostgreSQL URL that need no server.

libpq checks most values itself: a connection to sockets that cannot exist is started, which libpq
tries only after it has checked all options. Files in a URL are checked here, because libpq ignores
a certificate that it does not find, unless it has to verify the server. Used by `ops.arguments`.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo, pq

from sql.url_options import forget_variables, unknown_option

_NOWHERE = "/dev/null/nowhere"
"""A folder of sockets, which cannot exist."""
_UNREACHED = "connection to server"
"""The beginning of libpq's message if all options are valid."""
_NUMBERS = (
    "connect_timeout keepalives keepalives_count keepalives_idle keepalives_interval"
    " tcp_user_timeout"
).split()
"""Options that libpq reads as numbers only for TCP."""
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_KEYWORDS = {"sslrootcert": "system"}
"""Values that are not files."""
_DEFAULT_ROOT = Path(".postgresql", "root.crt")


def wrong_option(url: str) -> str | None:
    """Return what is wrong with the options of a URL in a few words, or None.

    They never contain a password. For a URL that cannot be parsed the result is None.
    """
    unknown = unknown_option(url)
    if unknown is not None:
        return f"its option {unknown} is unknown: take those of libpq, such as sslmode"
    forget_variables()
    try:
        given: dict[str, Any] = dict(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        return None
    problems = (*_values(given), *_numbers(given), *_addresses(given), *_files(given))
    return next(iter(problems), None)


def _values(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield libpq's error about the values, if any."""
    host, address = given.get("host"), given.get("hostaddr")
    elsewhere = {**given, "host": ",".join([_NOWHERE] * _count(host or address))}
    if not host or _count(host) == _count(
        address
    ):  # otherwise libpq reports that they do not match
        elsewhere.pop("hostaddr", None)
    connection = pq.PGconn.connect_start(conninfo.make_conninfo("", **elsewhere).encode())
    try:
        message = connection.get_error_message().strip()
    finally:
        connection.finish()
    if not message.startswith(_UNREACHED):
        yield message.splitlines()[0]


def _count(names: str | None) -> int:
    return (names or "").count(",") + 1


def _numbers(given: Mapping[str, Any]) -> Iterator[str]:
    for name in _NUMBERS:
        if name in given and not str(given[name]).strip().lstrip("+-").isdecimal():
            yield f'invalid {name} value: "{given[name]}" (a whole number)'


def _addresses(given: Mapping[str, Any]) -> Iterator[str]:
    for address in filter(None, str(given.get("hostaddr", "")).split(",")):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            yield f'invalid hostaddr value: "{address}" (an IP address)'


def _files(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the files for TLS; without TLS they are not read."""
    if given.get("sslmode") == "disable" or _by_socket(given):
        return
    for name in _FILES:
        path = given.get(name)
        if path and path != _KEYWORDS.get(name) and not (name == "sslkey" and ":" in path):
            yield from _unreadable(name, path)
    root = given.get("sslrootcert")
    if root and root != "system":
        yield from _unusable("sslrootcert", root, _context().load_verify_locations)
    verifies = str(given.get("sslmode", "")).startswith("verify-")
    if verifies and not root and not Path.home().joinpath(_DEFAULT_ROOT).exists():
        yield (
            f"sslmode={given['sslmode']} needs sslrootcert=FILE, or sslrootcert=system with"
            " verify-full"
        )


def _by_socket(given: Mapping[str, Any]) -> bool:
    hosts = str(given.get("host") or "").split(",")
    return not given.get("hostaddr") and all(host[:1] in ("", "/", "@") for host in hosts)


def _unreadable(name: str, path: str) -> Iterator[str]:
    try:
        with Path(path).open("rb"):
            return
    except (OSError, ValueError) as error:  # ValueError: a null byte
        yield f"its option {name}: {path}: {getattr(error, 'strerror', None) or error}"


def _unusable(name: str, path: str, load: Callable[[str], None]) -> Iterator[str]:
    try:
        load(path)
    except (ssl.SSLError, ValueError):
        yield f"its option {name}: {path} has no certificate that can be read"
    except OSError:
        return  # reported by `_unreadable`


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
