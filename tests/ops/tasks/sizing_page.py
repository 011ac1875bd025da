"""The tables in `docs/scaling.md`, made from the code: `python -m tests.ops.tasks.sizing_page`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ops.tasks.sizing.costs import COSTS
from ops.tasks.sizing.model import DAY, EVENTS_A_JOB, Load, Size, first_limit, size
from ops.tasks.sizing.report import bytes_shown, cores_shown

DOCUMENT = Path(__file__).parents[3] / "docs" / "scaling.md"
USERS = (500, 3_000, 10_000, 30_000)
JOBS_A_USER = 4
"""A day; a quarter of them in the busiest hour."""
LOADS = (1_000_000, 10_000_000, 100_000_000)
"""Jobs a day."""

Rows = Iterable[Iterable[str]]


def load_of_users(users: int) -> Load:
    """Return the load of so many users of a product: a tenant for 50, a tenth of them looking."""
    jobs = users * JOBS_A_USER
    return Load(users // 50, jobs * EVENTS_A_JOB / 4 / 3_600, users // 10, jobs)


def load_of_jobs(jobs: int) -> Load:
    """Return the load of so many jobs a day, spread evenly over it."""
    rate = jobs * EVENTS_A_JOB / DAY
    return Load(jobs // 10_000, rate, jobs // 1_000, jobs)


def _first(found: Size) -> str:
    first = first_limit(found.load)
    growth = f"{first.growth:,.0f}" if first.growth >= 100 else f"{first.growth:.2g}"
    return f"{first.engine}, {first.what}, at {growth} × this load"


def _table(head: Iterable[str], rows: Rows) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def costs() -> str:
    """Return the table of all figures."""
    rows = ((each.meaning, f"{each.value:,g} {each.unit}", each.source) for each in COSTS.values())
    return _table(("what", "cost", "source"), rows)


def _sizes(head: str, loads: Mapping[int, Load]) -> str:
    names = (
        head,
        "events/s",
        "viewers",
        "Redis",
        "PostgreSQL",
        "rows a day",
        "connections",
        "first limit",
    )
    found = {number: size(load) for number, load in loads.items()}
    return _table(
        names,
        (
            (
                f"{number:,}",
                f"{each.load.events_per_second:,.3g}"
                if each.load.events_per_second < 100
                else f"{each.load.events_per_second:,.0f}",
                f"{each.load.viewers:,}",
                f"{each.redis_primaries} × {bytes_shown(each.redis_bytes / each.redis_primaries)},"
                f" {cores_shown(each.redis_cores)}",
                cores_shown(each.postgres_cores),
                bytes_shown(each.postgres_bytes_a_day),
                str(each.connections),
                _first(each),
            )
            for number, each in found.items()
        ),
    )


def users() -> str:
    """Return what the numbers of users need."""
    return _sizes("users", {number: load_of_users(number) for number in USERS})


def jobs() -> str:
    """Return what the numbers of jobs need."""
    return _sizes("jobs a day", {number: load_of_jobs(number) for number in LOADS})


def processes() -> str:
    """Return the processes for the numbers of jobs."""
    found = {number: size(load_of_jobs(number)) for number in LOADS}
    rows = (
        (
            f"{number:,}",
            *(
                f"{part.processes} ({cores_shown(part.cores)})"
                for part in (each.consumers["status"], each.consumers["rows"], each.api)
            ),
        )
        for number, each in found.items()
    )
    return _table(("jobs a day", "consumers of status", "consumers of rows", "API"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "costs": costs,
    "users": users,
    "jobs": jobs,
    "processes": processes,
}


def filled(text: str) -> str:
    """Return the page with all tables as the code has them."""
    for name, table in TABLES.items():
        begin, end = f"<!-- table: {name} -->\n", "<!-- end of table -->\n"
        before, found, rest = text.partition(begin)
        assert found, name
        text = before + begin + table() + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))
