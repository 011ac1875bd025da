"""Options of a PostgreSQL URL, and the variables of the shell that libpq reads beside them.

Used by `sql.sessions` and `sql.url_check`.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import Conninfo

from sql.deadlines import network_options

_CREDENTIALS = {"PGPASSWORD", "PGPASSFILE"}
_UNLISTED = {"PGDATESTYLE", "PGTZ", "PGGEQO", "PGSERVICEFILE", "PGSYSCONFDIR"}
"""Variables that libpq reads beside those of its connection options."""

_UNKNOWN_OPTION = re.compile(r'invalid (?:URI query parameter:|connection option) "(\w{1,64})"')
_SETTING = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:\\.|[^\s\\])*)\s*")
"""A setting of the server in the option `options`."""


class Start(NamedTuple):
    """Parameters that a connection is opened with."""

    parameters: dict[str, Any]
    """Parameters of libpq and psycopg beside those of the URL."""
    settings: dict[str, str]
    """Settings of the server that the option `options` of the URL has."""


def connection_start(url: str, application: str, connect_seconds: int) -> Start:
    """Return what a connection to a URL is opened with.

    An application name and a limit for connecting, in seconds, are added. Variables of the shell
    are removed from this process.
    """
    forget_variables()
    try:
        given = str(psycopg.conninfo.conninfo_to_dict(url).get("options") or "")
    except psycopg.ProgrammingError:
        given = ""  # connecting reports what is wrong with the URL
    parameters: dict[str, Any] = {
        **network_options(url),
        "application_name": application,
        "connect_timeout": connect_seconds,
        "client_encoding": "UTF8",
        # PgBouncer refuses settings here: each transaction begins with them instead.
        "options": _SETTING.sub("", given).strip(),
        # A prepared statement keeps the plan of the table and the filters that it was first run on,
        # and belongs to one server session.
        "prepare_threshold": None,
    }
    return Start(parameters, _settings(given))


def unknown_option(url: str) -> str | None:
    """Return the option of a URL that libpq does not know; None where it knows all of them."""
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # The rest of the message may contain a password.
        found = _UNKNOWN_OPTION.search(str(error))
        return found and found[1]
    return None


def forget_variables() -> None:
    """Remove the variables that libpq reads from this process, except for passwords."""
    for option in Conninfo.get_defaults():
        if option.envvar and option.envvar.decode() not in _CREDENTIALS:
            os.environ.pop(option.envvar.decode(), None)
    for name in _UNLISTED:
        os.environ.pop(name, None)


def _settings(options: str) -> dict[str, str]:
    return {
        name.replace("-", "_").lower(): re.sub(r"\\(.)", r"\1", value)
        for name, value in _SETTING.findall(options)
    }
