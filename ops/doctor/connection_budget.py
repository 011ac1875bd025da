"""The limits on processes and the database connections that they allow together.

The limits are in one file, `deploy/limits.toml` or the one that `JOBTRAIL_LIMITS` names. The
*connection budget* compares the sum of the connections with what the server offers. Used by
`ops.commands.api`, `ops.commands.doctor` and `ops.doctor.postgres_checks`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streams.settings import Settings, SettingsError

REFUSE_SHARE = 0.9
"""Above this share, a few more connections make the product fail."""
WARN_SHARE = 0.6
"""Above this share, the budget is tight."""
RESERVED = 3
"""Connections that PostgreSQL reserves for superusers by default."""
SERVER_SIZES = (25, 50, 100)
"""The `max_connections` of the smallest managed servers, for comparison."""

Count = Annotated[int, Field(ge=0, le=10_000)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkerClass(_Table):
    """One class of workers: the most replicas, and the connections of each."""

    replicas: Count
    connections: Count = 1


class Application(_Table):
    """The product's own processes on the same server."""

    processes: Count = 1
    connections: Count = 15


class Api(_Table):
    """`jobtrail api`."""

    processes: Count = 1
    pool_size: Annotated[int, Field(ge=1, le=1_000)] = 4
    ops_connections: Count = 2


class Consumers(_Table):
    """`jobtrail consume rows`; the group status takes no connection."""

    rows: Count = 1
    connections: Count = 2


class Operators(_Table):
    """Commands and consoles."""

    connections: Count = 2


class Limits(_Table):
    """The content of the file."""

    workers: Mapping[str, WorkerClass] = {
        "ai": WorkerClass(replicas=5),
        "video": WorkerClass(replicas=3),
        "messaging": WorkerClass(replicas=5),
    }
    application: Application = Application()
    api: Api = Api()
    consumers: Consumers = Consumers()
    operators: Operators = Operators()

    def connections(self) -> dict[str, int]:
        """Return the most connections of each class."""
        return {
            **{
                f"{name} workers": each.replicas * each.connections
                for name, each in self.workers.items()
            },
            "application": self.application.processes * self.application.connections,
            "api": self.api.processes * (self.api.pool_size + self.api.ops_connections),
            "rows consumers": self.consumers.rows * self.consumers.connections,
            "operators": self.operators.connections,
        }


class Budget(NamedTuple):
    """The connections that the limits allow, compared with one server."""

    size: int
    """The server's `max_connections`."""
    available: int
    """Its connections without the reserved ones."""
    needed: int

    @property
    def share(self) -> float:
        """The part of the available connections that the limits allow."""
        return self.needed / self.available if self.available > 0 else float("inf")

    @property
    def verdict(self) -> str:
        """`ok`, `tight` or `too much`."""
        if self.share > REFUSE_SHARE:
            return "too much"
        return "tight" if self.share > WARN_SHARE else "ok"


def read_limits(path: Path | None) -> Limits:
    """Return the limits of a file, or the defaults without one.

    Raises:
        SettingsError: the file cannot be read, or its content is not valid.
    """
    if path is None:
        return Limits()
    try:
        return Limits.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"JOBTRAIL_LIMITS: {path} cannot be read: {error}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise SettingsError(f"JOBTRAIL_LIMITS: {path}: {where}: {problem['msg']}") from None


def check_pool(settings: Settings) -> None:
    """Raise if the API's pool is larger than the limits allow.

    Raises:
        SettingsError: it is, or the limits cannot be read.
    """
    if settings.limits is None:
        return
    most = read_limits(settings.limits).api.pool_size
    if settings.api_pool_size > most:
        raise SettingsError(
            f"JOBTRAIL_API_POOL_SIZE={settings.api_pool_size} is over api.pool_size = {most} of "
            f"{settings.limits}: raise it there, and check with jobtrail doctor that it fits"
        )


def budget(limits: Limits, size: int, reserved: int = RESERVED) -> Budget:
    """Compare the limits with a server that has `size` connections, `reserved` ones included."""
    return Budget(size, size - reserved, sum(limits.connections().values()))


def budgets(limits: Limits) -> Iterator[Budget]:
    """Compare the limits with servers of the usual sizes."""
    return (budget(limits, size) for size in SERVER_SIZES)
