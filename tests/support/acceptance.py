"""The common part of the acceptance tests of Sentinel and of a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from subprocess import CompletedProcess

import httpx

from streams.appender import EventAppender
from streams.cluster import keys_of
from streams.connection import LogUnavailable, connect
from streams.entry_ids import EntryId
from streams.wire import ask
from tests.support.deployment import Deployment
from tests.support.event_stream import Stream


@contextmanager
def appending(url: str, acknowledged: Mapping[str, list[EntryId]]) -> Iterator[None]:
    """Append durably in a thread for each tenant, and record what was acknowledged."""
    stop = threading.Event()

    def work(tenant: str) -> None:
        with connect(url, timeout=1) as client:
            appender = EventAppender(client, durable_seconds=0.5)
            number = 0
            while not stop.wait(0.02):
                number += 1
                event = {"type": "progress", "id": f"busy-{number % 7}", "percent": number % 100}
                with suppress(LogUnavailable):
                    acknowledged[tenant].append(appender.append(tenant, event, durable=True))

    threads = [threading.Thread(target=work, args=(name,)) for name in acknowledged]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def stored(url: str, tenant: str) -> set[EntryId]:
    """Return the ids of the entries of a tenant's stream."""
    with connect(url) as client:
        entries = ask(client, "XRANGE", keys_of(client).stream(tenant), "-", "+")
    return {EntryId.parse(entry_id.decode()) for entry_id, _ in entries}


def is_done(deployed: Deployment, tenant: str, job: str) -> bool:
    """Return True if the API shows that a job is done."""
    with suppress(httpx.HTTPError):
        answer = httpx.get(
            f"{deployed.url}/api/v1/jobs/{job}/progress/",
            headers={"X-Tenant-ID": tenant},
            timeout=30,
        )
        return answer.status_code == 200 and answer.json()["status"] == "DONE"
    return False


def seen(live: Stream, job_id: str) -> dict[str, object]:
    """Return the first state of a job in a live stream."""
    while (event := live.event()) is not None:
        if event.data.get("job_id") == job_id:
            return event.data
    raise AssertionError("the stream ended")


def run_every_command(run: Callable[..., CompletedProcess[bytes]], tenant: str, job: str) -> None:
    """Run commands that read or change what a deployment has; all must succeed."""
    for words in (
        ("verify", "status"),
        ("verify", "rows"),
        ("replay", "status", "--reset"),
        ("replay", "rows", "--reset"),
        ("verify", "status"),
        ("verify", "rows"),
        ("status", "--tenant", tenant, job),
        ("lag",),
        ("trim",),
        ("groups", "list"),
        ("dead", "requeue", "--tenant", tenant, "--all"),
        ("append", "--tenant", tenant),
    ):
        ran = run(*words, stdin=b'{"type":"queued","id":"cli-1"}')
        assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
