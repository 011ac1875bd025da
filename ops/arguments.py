"""Checks that commands make before they begin: of tenants, files, URLs and servers.

Used by `ops.commands`.
"""

from __future__ import annotations

import os
from pathlib import Path

import redis

from ops.errors import CommandError, WrongArgument
from streams.cluster import keys_of
from streams.connection import NoPrimary, WrongServer, connect
from streams.keys import check_tenant
from streams.settings import PREFIX, Settings, SettingsError
from streams.wire import ask

START_SECONDS = 1.0
"""The time limit for Redis in `check_primary`, for commands that wait for their servers later."""


def check_known(client: redis.Redis, tenant: str) -> str:
    """Return the tenant if it has a stream or dead letters.

    A name that no tenant can have is accepted where such keys exist: their dead letters can be
    listed and discarded like others.

    Raises:
        InvalidTenant: no tenant can have that name.
        CommandError: the tenant has neither a stream nor dead letters.
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    if not is_known(client, tenant):
        check_tenant(tenant)
        raise CommandError(
            f"no tenant {tenant!r}: nothing was ever appended for it; jobtrail lag lists those"
            " that there are"
        )
    return tenant


def is_known(client: redis.Redis, tenant: str) -> bool:
    """Return True if the tenant has a stream or dead letters.

    A stream is never deleted, so that this is False only where nothing was ever appended.
    """
    keys = keys_of(client)
    return bool(ask(client, "EXISTS", keys.stream(tenant), keys.dead(tenant)))


def check_servers(settings: Settings) -> None:
    """Raise if Redis does not answer or a URL is not valid; PostgreSQL is not connected to.

    Raises:
        InvalidUrl, SettingsError: a URL is not valid.
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    check_database_url(settings)
    if settings.redis_url is not None:
        with connect(settings.redis_url) as client:
            client.ping()


def check_database_url(settings: Settings) -> None:
    """Raise if a URL of PostgreSQL can never work; the servers are not connected to.

    Raises:
        SettingsError: a URL is not valid, or an option of it is unknown, has no valid value or
            names a file that cannot be used.
    """
    if settings.database_url is not None:
        _check_options("DATABASE_URL", settings.require_database_url())
    replica = settings.checked_read_url()
    if replica is not None:
        _check_options("DATABASE_READ_URL", replica)


def _check_options(name: str, url: str) -> None:
    from sql.url_check import wrong_option  # noqa: PLC0415 - only with PostgreSQL

    problem = wrong_option(url)
    if problem is not None:
        raise SettingsError(f"{PREFIX}{name}: {problem}")


def check_primary(settings: Settings) -> None:
    """Raise if Redis is not a primary; one that is unavailable is waited for later.

    Raises:
        InvalidUrl, SettingsError: the URL is not valid, or not set.
        WrongServer: the server is a replica, a node of a cluster or a Sentinel; or the nodes of a
            cluster's URL are not in a cluster.
    """
    url = settings.require_redis_url()
    with connect(url, timeout=START_SECONDS, connect_timeout=START_SECONDS) as client:
        try:
            client.ping()
        except NoPrimary:
            return
        except WrongServer:
            raise
        except redis.RedisError:
            return


def check_source(file: Path) -> None:
    """Raise if a file cannot be read, before a job is reported for it.

    Raises:
        WrongArgument: it does not exist, is not a regular file, or is not readable.
    """
    try:
        regular = file.is_file()
        if regular:
            with file.open("rb"):
                return
        reason = "is not a regular file" if os.path.lexists(file) else "does not exist"
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    raise WrongArgument(f"{file} {reason}: give the name of a file")
