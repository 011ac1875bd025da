"""The result of sizing as rows of tables, as one sentence and as JSON.

Used by `ops.commands.size`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from ops.tasks.sizing.model import Size, first_limit

_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def bytes_shown(count: float) -> str:
    """Return a number of bytes in the largest unit of which there is at least one."""
    for unit, name in _UNITS:
        if count >= unit:
            return (
                f"{_rounded(count / unit, 3)} {name}"
                if count < 1_000 * unit
                else f"{count / unit:,.0f} {name}"
            )
    return f"{count:,.0f} bytes"


def cores_shown(cores: float) -> str:
    """Return a share of cores as text."""
    return f"{cores:,.1f} cores" if cores >= 1 else f"{_rounded(100 * cores, 2)} % of a core"


def need_rows(size: Size) -> Iterator[tuple[str, str, str]]:
    """Yield each part with what it needs."""
    for group, part in size.consumers.items():
        yield f"consumers of {group}", f"{part.processes} processes", cores_shown(part.cores)
    yield "API", f"{size.api.processes} processes", cores_shown(size.api.cores)
    yield (
        "Redis",
        f"{size.redis_primaries} primaries" if size.redis_primaries > 1 else "1 primary",
        f"{cores_shown(size.redis_cores)}, {bytes_shown(size.redis_bytes)} of data",
    )
    yield (
        "PostgreSQL",
        cores_shown(size.postgres_cores),
        f"{bytes_shown(size.postgres_bytes_a_day)} a day, "
        f"{bytes_shown(size.postgres_bytes)} in {size.load.history_keep_days} days",
    )
    yield "PostgreSQL", f"{size.connections} connections", "without a pooler"


def limit_rows(size: Size) -> Iterator[tuple[str, str, str]]:
    """Yield each limit of one server, the largest share at the head."""
    for limit in size.limits:
        share = 100 * limit.share
        shown = f"{share:,.0f}" if share >= 10 else _rounded(share, 2)
        yield limit.engine, limit.what, f"{shown} %"


def summary(size: Size) -> str:
    """Return a sentence on the limit that comes first."""
    first = first_limit(size.load)
    limit = f"The limit of one {first.engine} on {first.what}"
    if first.growth <= 1:
        share = _rounded(100 * first.growth, 2)
        return f"{limit} comes first: it is reached at {share} % of this load."
    growth = f"{first.growth:,.0f}" if first.growth >= 10 else f"{first.growth:.1f}"
    return f"{limit} comes first: it is reached at {growth} times this load."


def _rounded(number: float, digits: int) -> str:
    """Return a number with so many significant digits, and without an exponent."""
    return f"{Decimal(f'{number:.{digits}g}'):,f}"


def as_facts(size: Size) -> dict[str, Any]:
    """Return everything as JSON has it."""
    return {
        "load": size.load._asdict(),
        "consumers": {group: part._asdict() for group, part in size.consumers.items()},
        "api": size.api._asdict(),
        "redis": {
            "cores": size.redis_cores,
            "primaries": size.redis_primaries,
            "bytes": size.redis_bytes,
        },
        "postgres": {
            "cores": size.postgres_cores,
            "bytes_per_day": size.postgres_bytes_a_day,
            "bytes": size.postgres_bytes,
            "connections": size.connections,
        },
        "limits": [limit._asdict() for limit in size.limits],
        "first_limit": first_limit(size.load)._asdict(),
    }
