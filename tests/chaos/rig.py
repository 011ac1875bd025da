"""What the chaos happens to: servers, proxies before them, and consumers that are kept running."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import redis

from ops.devstack import EmbeddedPostgres
from ops.processes.child import Child
from streams.cluster import keys_of
from streams.connection import connect
from tests.chaos.logs import LOGS
from tests.support.proxy import Proxy
from tests.support.servers import migrate, server_folder
from tests.support.waiting import ENDING, eventually

GROUPS = ("status", "rows")
RESTART_SECONDS = 0.2
LOOK_SECONDS = 0.05


class Member:
    """One consumer process, started again each time that it dies."""

    def __init__(self, group: str, env: Mapping[str, str], log: IO[bytes]) -> None:
        self.group = group
        self._env, self._log = env, log
        self.child = self._start()

    def _start(self) -> Child:
        argv = [sys.executable, "-m", "ops", "consume", self.group]
        return Child(argv, env=self._env, output=self._log.fileno())

    def keep(self) -> int | None:
        """Start it again if it has ended, and give the exit status of the one that ended."""
        status = self.child.poll()
        if status is not None:
            self.child = self._start()
        return status


class Fleet:
    """Consumers of both groups."""

    def __init__(self, each: int, env: Mapping[str, str], log: IO[bytes]) -> None:
        self._members = [Member(group, env, log) for group in GROUPS for _ in range(each)]
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="restarter", daemon=True)
        self._thread.start()
        self.fallen: list[str] = []
        """Consumers that ended by themselves, which none ever should."""

    def any(self, chance: random.Random, group: str | None = None) -> Child:
        """Give the process of some consumer."""
        members = [each for each in self._members if group in (None, each.group)]
        return chance.choice(members).child

    def stop(self) -> None:
        """Ask all to end in order, and wait until they have."""
        self._halt.set()
        self._thread.join()
        for member in self._members:
            # A process that was just started ends at once by the signal, as any program does.
            eventually(partial(_handles_termination, member.child), ENDING)
            member.child.ask_to_stop()
        for member in self._members:
            if not member.child.wait(ENDING):
                self.fallen.append(f"{member.group}: did not stop when asked to")
                member.child.kill()
            elif status := member.child.poll():
                self.fallen.append(f"{member.group}: exit status {status} when asked to stop")

    def _keep(self) -> None:
        while not self._halt.wait(LOOK_SECONDS):
            for member in self._members:
                status = member.keep()
                if status is not None and status != -signal.SIGKILL:
                    self.fallen.append(f"{member.group}: ended by itself, exit status {status}")


def _handles_termination(process: Child) -> bool:
    """Return True once a process has a handler for SIGTERM, or has ended."""
    if process.poll() is not None:
        return True
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except FileNotFoundError:  # not Linux
        return True
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


class Rig:
    """Servers, proxies and consumers; producers and consumers reach the servers by proxies alone.

    Args:
        tenants: whose logs there will be.
        consumers: processes of each group.
        servers: one of `LOGS`.
    """

    def __init__(self, tenants: Sequence[str], consumers: int, servers: str = "standalone") -> None:
        self.logs = LOGS[servers]()
        self.tenants = list(tenants)
        self._consumers = consumers
        self._stack = ExitStack()
        self._never = threading.Event()
        self.destroyed: set[tuple[str, str]] = set()
        """Tenant and group wherever a group was destroyed: all before is delivered again."""
        self.complaints: list[str] = []
        """What faults found to be wrong by themselves."""

    def __enter__(self) -> Self:
        """Start all."""
        with ExitStack() as stack:
            stack.enter_context(self.logs)
            postgres_folder = stack.enter_context(server_folder())
            logs = stack.enter_context(server_folder())
            self.postgres = stack.enter_context(EmbeddedPostgres(postgres_folder, fast=True))
            migrate(self.postgres)
            self.to_postgres = stack.enter_context(Proxy(self.postgres.port))
            self.client = stack.enter_context(connect(self.logs.url))
            self.log_path = logs / "consumers.log"
            self.log = stack.enter_context(self.log_path.open("ab"))
            self.fleet = Fleet(self._consumers, self.environ(), self.log)
            stack.callback(self.fleet.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all."""
        self._stack.close()

    def environ(self) -> dict[str, str]:
        """Give the environment of a consumer."""
        inherited = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
        return inherited | {
            "JOBTRAIL_REDIS_URL": self.logs.consumers_url,
            "JOBTRAIL_DATABASE_URL": _at(
                self.postgres.url, self.postgres.port, self.to_postgres.port
            ),
            "JOBTRAIL_RECLAIM_IDLE_SECONDS": "1",
        }

    def pause(self, seconds: float) -> None:
        """Let a fault last."""
        self._never.wait(seconds)

    def wake(self, process: Child) -> None:
        """Let a process that was stopped go on."""
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)

    def stop_consumers(self) -> None:
        """End the consumers; those that do not end as they should are complaints."""
        self.fleet.stop()
        self.complaints += self.fleet.fallen
        if b"Traceback" in self.log_path.read_bytes():
            self.complaints.append("a consumer logged a traceback")


Positions = Mapping[str, tuple[int, int]]
"""By tenant, the last entry of its log."""


def position(entry_id: bytes) -> tuple[int, int]:
    """Read an entry id as two integers."""
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq)


def ends(client: redis.Redis, tenants: Sequence[str]) -> Positions:
    """Give where each log ends now."""
    found = {}
    for tenant in tenants:
        last: Any = client.xrevrange(keys_of(client).stream(tenant), count=1)
        if last:
            found[tenant] = position(last[0][0])
    return found


def settled(client: redis.Redis, until: Positions) -> bool:
    """Tell whether both groups have acknowledged everything up to these positions."""
    return all(
        _settled(client, keys_of(client).stream(tenant), group, end)
        for tenant, end in until.items()
        for group in GROUPS
    )


def _settled(client: redis.Redis, log: str, group: str, end: tuple[int, int]) -> bool:
    groups: Any = client.xinfo_groups(log)
    state = {row["name"].decode(): row for row in groups}.get(group)
    if state is None or position(state["last-delivered-id"]) < end:
        return False
    if state["pending"] == 0:
        return True
    waiting: Any = client.xpending(log, group)
    return waiting["min"] is None or position(waiting["min"]) > end


def _at(url: str, port: int, proxied: int) -> str:
    return url.replace(f":{port}/", f":{proxied}/")
