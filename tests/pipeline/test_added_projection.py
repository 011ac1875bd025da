"""A projection that another package adds: everything knows it by its entry point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from streams.appender import EventAppender
from tests.pipeline.conftest import Start, starting
from tests.support.waiting import eventually

NAME = "jobs-per-day"
MODULE = '''
"""The number of jobs with an event on each day, for each tenant: `SCARD jobs-per-day:TENANT:DAY`"""

from projections.registry.definition import Checked, Difference, JobKey, RegisteredProjection


def keys(client, tenant):
    return {name.decode() for name in client.scan_iter(f"jobs-per-day:{tenant or '*'}:*")}

def facts(entry):
    day = f"{entry.entry_id.time:%F}"
    return f"jobs-per-day:{entry.tenant}:{day}", f"{entry.job.kind}/{entry.job.id}"

class Writer:
    def __init__(self, client, settings):
        self.client = client
    def apply(self, entries):
        for key, member in set(map(facts, entries)):
            self.client.sadd(key, member)

def reset(replay, after):
    for key in keys(replay.client, replay.sources.tenant):
        replay.client.delete(key)
    yield from replay.apply_all(Writer(replay.client, replay.settings), after)

def verify(replay):
    expected = set(map(facts, replay.entries()))
    served = {(key, member.decode()) for key in keys(replay.client, replay.sources.tenant)
              for member in replay.client.smembers(key)}
    for key, member in sorted(served ^ expected):
        job = JobKey(key.split(":")[1], *member.split("/"))
        yield Difference(job, key, (key, member) in served, (key, member) in expected)
    yield Checked(len({member for _, member in expected}))

PROJECTION = RegisteredProjection(
    group="jobs-per-day", serves="jobs per day", writer=Writer, reset=reset, verify=verify
)
'''
METADATA = "Metadata-Version: 2.1\nName: acme-jobs-per-day\nVersion: 1.0\n"
ENTRY_POINTS = f"[jobtrail.projections]\n{NAME} = acme_jobs_per_day:PROJECTION\n"


def install(folder: Path, module: str, entry_points: str = ENTRY_POINTS) -> None:
    """Install a distribution into a folder that is to be on PYTHONPATH."""
    (folder / "acme_jobs_per_day.py").write_text(module)
    info = folder / "acme_jobs_per_day-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with starting() as begin:
        yield begin


def output(start: Start, servers: dict[str, str], *words: str) -> str:
    """Return the standard output of a command that must succeed."""
    process = start(*words, **servers)
    printed = process.communicate()[0].decode()
    assert process.returncode == 0, printed
    return printed


def test_a_projection_of_another_package(
    start: Start, servers: dict[str, str], redis_client: redis.Redis, tmp_path: Path
) -> None:
    install(tmp_path, MODULE)
    start("consume", NAME, **servers)
    appender = EventAppender(redis_client)
    for type_, id_ in (("queued", "a"), ("done", "a"), ("queued", "b")):
        at = appender.append("t1", {"type": type_, "id": id_})
    figure = f"jobs-per-day:t1:{at.time:%F}"
    eventually(lambda: redis_client.scard(figure) == 2, 30, "the figure")

    eventually(lambda: rows_of(output(start, servers, "lag", "--json"))[NAME] == 0, 30, "no lag")
    assert "verified 2 jobs" in output(start, servers, "verify", NAME)
    assert f"lag of {NAME}" in start("doctor", **servers).communicate()[0].decode()

    redis_client.srem(figure, "job/a")
    process = start("verify", NAME, **servers)
    assert b"t1 job a" in process.communicate()[0]
    assert process.returncode == 1
    output(start, servers, "replay", NAME)
    assert redis_client.scard(figure) == 2
    redis_client.sadd(figure, "job/wrong")
    assert f"into {NAME}" in output(start, servers, "replay", NAME, "--reset")
    assert redis_client.smembers(figure) == {b"job/a", b"job/b"}
    assert "verified 2 jobs" in output(start, servers, "verify", NAME)


def rows_of(printed: str) -> dict[str, int]:
    """Return how many entries each group has not settled."""
    return {row["group"]: row["waiting"] + row["pending"] for row in json.loads(printed)}


@pytest.mark.parametrize(
    ("module", "entry_points", "problem"),
    [
        ("PROJECTION = 1", ENTRY_POINTS, "must be a RegisteredProjection, not int"),
        ("raise RuntimeError('broken')", ENTRY_POINTS, "broken"),
        (MODULE.replace('group="jobs-per-day"', 'group="other"'), ENTRY_POINTS, "'other'"),
        (MODULE, ENTRY_POINTS.replace(f"{NAME} =", "rows ="), "of that name already"),
        (MODULE, ENTRY_POINTS.replace(f"{NAME} =", "Jobs:day ="), "must be a letter from a to z"),
    ],
    ids=["other type", "raises", "other group", "name of another", "odd name"],
)
def test_a_package_that_is_wrong__one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    entry_points: str,
    problem: str,
) -> None:
    from projections.registry import lookup  # noqa: PLC0415 - its caches are cleared here

    install(tmp_path, module, entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "acme_jobs_per_day", raising=False)
    lookup._entries.cache_clear()
    lookup.find_projection.cache_clear()
    try:
        with pytest.raises(lookup.InvalidProjection, match=problem) as raised:
            lookup.find_projection(NAME)
    finally:
        lookup._entries.cache_clear()
        lookup.find_projection.cache_clear()
    assert "of acme-jobs-per-day (acme_jobs_per_day:PROJECTION): " in str(raised.value)
    assert "\n" not in str(raised.value)
