"""The environment's variables before they are validated: their prefix, and errors about them.

This module needs no validation library, so that a command that reads only a URL starts fast.
"""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "JOBTRAIL_"

TEXTS = ("redis_url", "database_url", "data_dir")
"""Settings that are taken as they are: no text is wrong for them until it is used."""


DATA_DIR = ".jobtrail"
"""The default folder for the data of the embedded servers."""


class SettingsError(ValueError):
    """The environment is wrong; the message names the variable and what it takes."""


def given(environ: Mapping[str, str], name: str) -> str | None:
    """Return the value of a setting without surrounding spaces; None where it is unset or empty."""
    return environ.get(PREFIX + name.upper(), "").strip() or None


def is_utf8(value: str) -> bool:
    """Return whether a variable's bytes were UTF-8; what was not cannot be sent to a server."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def required(value: str | None, name: str, example: str) -> str:
    """Return a value, or raise SettingsError where it is None."""
    if value is None:
        raise SettingsError(
            f"{PREFIX}{name.upper()} is not set: give it, e.g. {example}, or start jobtrail up"
        )
    return value


def required_redis_url(value: str | None) -> str:
    """Return the Redis URL, or raise SettingsError where none is set."""
    return required(value, "redis_url", "redis://127.0.0.1:6379/0")
