"""What a command looks at before it begins: is there such a tenant, do the servers answer."""

from __future__ import annotations

import os
from pathlib import Path

import redis

from ops.errors import CommandError, WrongWord
from streams.connection import WrongServer, connect
from streams.keys import Keys, check_tenant
from streams.settings import PREFIX, Settings, SettingsError
from streams.wire import ask

START_SECONDS = 1.0
"""The time limit for the first look at Redis of a command that waits for its servers."""


def check_known(client: redis.Redis, tenant: str) -> str:
    """Give a tenant back that Redis knows: it has a log, which never goes, or dead letters.

    A name of another form will do where somebody wrote under it: its dead letters are looked at and
    discarded like others.

    Raises:
        InvalidTenant: no tenant can be called that.
        CommandError: nothing was ever appended for it, as far as Redis can tell.
        redis.RedisError: the server is away or refuses.
    """
    if not is_known(client, tenant):
        check_tenant(tenant)
        raise CommandError(
            f"no tenant {tenant!r}: nothing was ever appended for it; jobtrail lag lists those"
            " that there are"
        )
    return tenant


def is_known(client: redis.Redis, tenant: str) -> bool:
    """Whether anything in Redis says that something was appended for the tenant."""
    keys = Keys()
    return bool(ask(client, "EXISTS", keys.stream(tenant), keys.dead(tenant)))


def check_servers(settings: Settings) -> None:
    """Refuse to begin where a server that is named cannot be used; a database is only looked at.

    Raises:
        InvalidUrl, SettingsError: a URL is of no known form.
        redis.RedisError: Redis is away or refuses.
    """
    check_database_url(settings)
    if settings.redis_url is not None:
        with connect(settings.redis_url) as client:
            client.ping()


def check_database_url(settings: Settings) -> None:
    """Refuse to begin with a database URL that no wait makes right; the server is not asked.

    Raises:
        SettingsError: the URL is of no known form, or has an option that is not known, has no
            valid value or names a file that cannot be used.
    """
    if settings.database_url is None:
        return
    from sql.url_check import wrong_option  # noqa: PLC0415 - commands without PostgreSQL

    problem = wrong_option(settings.require_database_url())
    if problem is not None:
        raise SettingsError(f"{PREFIX}DATABASE_URL: {problem}")


def check_primary(settings: Settings) -> None:
    """Refuse to begin on a Redis that is not a primary; one that is away is waited for later.

    Raises:
        InvalidUrl, SettingsError: the URL is not valid, or not set.
        WrongServer: the server is a replica, a cluster's node or a Sentinel.
    """
    url = settings.require_redis_url()
    with connect(url, timeout=START_SECONDS, connect_timeout=START_SECONDS) as client:
        try:
            client.ping()
        except WrongServer:
            raise
        except redis.RedisError:
            return


def check_source(file: Path) -> None:
    """Refuse a file that cannot be read, before a job is reported for it.

    Raises:
        WrongWord: it does not exist, is not a regular file, or may not be read.
    """
    try:
        regular = file.is_file()
        if regular:
            with file.open("rb"):
                return
        reason = "is not a regular file" if os.path.lexists(file) else "does not exist"
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    raise WrongWord(f"{file} {reason}: give the name of a file")
