"""The run of all checks against one deployment. Used by `ops.commands.doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
import redis

from ops.doctor.checks import CHECKS, Check, Need
from ops.doctor.deployment import Deployment
from ops.doctor.finding import Finding
from ops.errors import line_for
from streams.connection import InvalidUrl, NoPrimary, WrongServer
from streams.settings import Settings, SettingsError


def examine(settings: Settings, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Run the checks, and return one finding each.

    If a server is unavailable, or its URL is not valid, one finding replaces those of its remaining
    checks. Checks that need the tables are skipped while migrations are missing.
    """
    on_redis = [check for check in checks if check.needs is Need.REDIS]
    on_postgres = [check for check in checks if check.needs is not Need.REDIS]
    with Deployment(settings) as deployment:
        return [
            *_findings("redis", on_redis, deployment),
            *_findings("postgres", on_postgres, deployment),
        ]


def _findings(server: str, checks: Sequence[Check], deployment: Deployment) -> Iterator[Finding]:
    try:
        for check in checks:
            if check.needs is Need.TABLES and deployment.missing_migrations:
                continue
            if (verdict := check.run(deployment)) is not None:
                yield Finding(check.name, *verdict)
    except (SettingsError, InvalidUrl) as error:
        yield Finding(server, ok=False, found=str(error), advice="correct that setting")
    except NoPrimary as error:
        yield Finding(server, ok=False, found=str(error), advice="see the Sentinels' logs")
    except WrongServer as error:
        advice = "name the primary in JOBTRAIL_REDIS_URL, or promote this one: REPLICAOF NO ONE"
        yield Finding(server, ok=False, found=str(error), advice=advice)
    except (redis.RedisError, psycopg.Error, OSError) as error:
        line = line_for(error) or str(error)
        yield Finding(server, ok=False, found=line, advice="start it, or correct its URL")
