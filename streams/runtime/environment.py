"""Environment variables before their validation: their prefix, and errors about them.

`streams/settings.py` validates them. This module needs no validation library, so that a command
that reads only a URL starts fast. Used by `ops.addresses`, `ops.errors`, `ops.unknown_variables`,
`projections.registry.lookup` and `streams`.
"""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "JOBTRAIL_"

TEXTS = ("redis_url", "database_url", "data_dir")
"""Settings for which every text is valid until it is used."""


DATA_DIR = ".jobtrail"
"""The default folder for the data of the embedded servers."""


_REDIS_URL = "redis://127.0.0.1:6379/0"


class SettingsError(ValueError):
    """A setting is not valid; the message is one line that names the variable and valid values."""


def given(environ: Mapping[str, str], name: str) -> str | None:
    """Return the value of a setting without surrounding spaces; None if it is unset or empty."""
    return environ.get(PREFIX + name.upper(), "").strip() or None


def is_utf8(value: str) -> bool:
    """Return True if the bytes of a variable were UTF-8; others cannot be sent to a server."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def required(value: str | None, name: str, example: str, instead: str = "start jobtrail up") -> str:
    """Return the value of a setting.

    Raises:
        SettingsError: it is None; the message has the example and what to do instead.
    """
    if value is None:
        raise SettingsError(
            f"{PREFIX}{name.upper()} is not set: give it, e.g. {example}, or {instead}"
        )
    return value


def required_redis_url(value: str | None) -> str:
    """Return the Redis URL.

    Raises:
        SettingsError: it is None.
    """
    return required(value, "redis_url", _REDIS_URL)


def workers_redis_url(value: str | None) -> str:
    """Return the Redis URL for a worker, which does not look for a running `jobtrail up`.

    Raises:
        SettingsError: it is None.
    """
    instead = 'take that of the running jobtrail up: eval "$(jobtrail env)"'
    return required(value, "redis_url", _REDIS_URL, instead)
