"""The options of a Redis URL: their names, and the conversion of their values.

The client library passes unknown options to a constructor that fails at the first command. Messages
never repeat a value, because a password that was not percent-encoded can be in any part of the URL;
only paths of files are repeated. Used by `streams.connection`, `streams.servers.quick_read` and
`streams.servers.redis_url`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl

if TYPE_CHECKING:
    import ssl

_FORMS = (
    "redis://USER:PASSWORD@HOST:PORT/DB, rediss://…, unix:///PATH,"
    " redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB or"
    " redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT"
)
ENCODE = "in a user, password or option, write each @ : / ? # % as %40 %3A %2F %3F %23 %25"

BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_OPTION_NAME = re.compile(r"[a-z_]{1,40}")
_MAX_DB = 2**31 - 1


class InvalidUrl(ValueError):
    """The Redis URL is not valid; the message is one line and never repeats the password."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; the Redis URL must be {_FORMS}")


def options_of(
    parts: SplitResult, added: Mapping[str, Callable[[str], Any]] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield each option and its value, converted; `added` are options of this form of URL."""
    known = _OPTIONS | (_TCP_OPTIONS if parts.scheme != "unix" else {}) | dict(added or {})
    known |= _TLS_OPTIONS if parts.scheme == "rediss" else {}
    seen = set[str]()
    if BAD_ESCAPE.search(parts.query):
        raise InvalidUrl(ENCODE)
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidUrl(ENCODE) from None
    for name, value in pairs:
        if name not in known:
            raise InvalidUrl(_unknown(name, known))
        if name in seen:
            raise InvalidUrl(f"its option {name} is given twice")
        seen.add(name)
        try:
            yield name, known[name](value)
        except _WrongValue as wrong:
            raise InvalidUrl(f"its option {name} must be {wrong}") from None


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    if not _OPTION_NAME.fullmatch(name):
        return "it has an unknown option"
    if name in _TLS_OPTIONS:
        return f"its option {name} needs the scheme rediss"
    if name in SENTINEL_OPTIONS:
        return f"its option {name} needs the scheme redis+sentinel"
    near = get_close_matches(name, known, 1)
    return f"its option {name} is unknown{f' (the nearest is {near[0]})' if near else ''}"


class _WrongValue(ValueError):
    """The option's value is not valid; the message says what it must be."""


def database(text: str) -> int:
    """Return the number of a database.

    Raises:
        InvalidUrl: the text is not such a number.
    """
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > _MAX_DB:
        raise InvalidUrl("its database must be a number, such as 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise _WrongValue("a number of seconds above 0")
    return seconds


def _number(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
            raise _WrongValue(f"a whole number from {least}")
        return int(text)

    return convert


def _boolean(text: str) -> bool:
    found = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in found:
        raise _WrongValue("true or false")
    return found[text.lower()]


def _text(text: str) -> str:
    if not text:
        raise _WrongValue("given")
    return text


def _client_name(text: str) -> str:
    if not re.fullmatch("[!-~]+", text):
        raise _WrongValue("printable ASCII without spaces")
    return text


def _requirement(text: str) -> str:
    if text not in ("none", "optional", "required"):
        raise _WrongValue("none, optional or required")
    return text


def _tls_version(text: str) -> ssl.TLSVersion:
    import ssl  # noqa: PLC0415 - a tenth of a start, and few URLs have TLS

    found = {"TLSv1_2": ssl.TLSVersion.TLSv1_2, "TLSv1_3": ssl.TLSVersion.TLSv1_3}
    found |= {str(int(version)): version for version in found.values()}
    if text not in found:
        raise _WrongValue("TLSv1_2 or TLSv1_3")
    return found[text]


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "db": database,
    "username": _text,
    "password": _text,
    "client_name": _client_name,
    "health_check_interval": _number(0),
    "max_connections": _number(1),
    "retry_on_timeout": _boolean,
    "socket_connect_timeout": _seconds,
    "socket_read_size": _number(1),
    "socket_timeout": _seconds,
}
_TCP_OPTIONS: dict[str, Callable[[str], Any]] = {"socket_keepalive": _boolean}
SENTINEL_OPTIONS: dict[str, Callable[[str], Any]] = {
    "sentinel_username": _text,
    "sentinel_password": _text,
}
_TLS_OPTIONS: dict[str, Callable[[str], Any]] = {
    "ssl_ca_certs": _text,
    "ssl_ca_data": _text,
    "ssl_ca_path": _text,
    "ssl_cert_reqs": _requirement,
    "ssl_certfile": _text,
    "ssl_check_hostname": _boolean,
    "ssl_ciphers": _text,
    "ssl_keyfile": _text,
    "ssl_min_version": _tls_version,
    "ssl_password": _text,
}


def check_tls(options: Mapping[str, Any]) -> None:
    """Load the files and texts of TLS options, as each connection will do."""
    if not options.keys() & _TLS_OPTIONS:
        return
    import ssl  # noqa: PLC0415 - as above

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options:
            _read(name, options[name])
    if "ssl_ca_path" in options and not Path(options["ssl_ca_path"]).is_dir():
        raise InvalidUrl(f"its option ssl_ca_path: {options['ssl_ca_path']} is not a directory")
    if key and not certificate:
        raise InvalidUrl("its option ssl_keyfile needs ssl_certfile")
    if "ssl_ca_certs" in options:
        _load("ssl_ca_certs", context.load_verify_locations, options["ssl_ca_certs"])
    if "ssl_ca_data" in options:
        _load("ssl_ca_data", context.load_verify_locations, None, None, options["ssl_ca_data"])
    if "ssl_ciphers" in options:
        _load("ssl_ciphers", context.set_ciphers, options["ssl_ciphers"])
    if certificate:
        # Without a password OpenSSL would ask for one on the terminal.
        password = options.get("ssl_password", "")
        _load("ssl_certfile", context.load_cert_chain, certificate, key, password)


def _read(name: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise InvalidUrl(f"its option {name}: {path}: {error.strerror or error}") from None
    except ValueError:  # a null byte
        raise InvalidUrl(f"its option {name} is not a path") from None


def _load(name: str, load: Callable[..., None], *arguments: Any) -> None:
    try:
        load(*arguments)
    except (ValueError, TypeError, OSError):  # an SSLError is an OSError
        paths = {"ssl_ca_certs", "ssl_certfile"}
        where = f": {arguments[0]}" if name in paths else ""
        what = " (or its key or ssl_password)" if name == "ssl_certfile" else ""
        raise InvalidUrl(f"its option {name}{where} cannot be used{what}") from None
