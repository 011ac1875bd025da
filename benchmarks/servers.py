"""The measured servers and processes, with embedded servers in a temporary folder."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from benchmarks.measure import Cpu, Sample, own_cpu_seconds, tree_cpu_seconds
from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from ops.processes.child import Child
from sql.migrate import apply
from streams.connection import connect
from streams.settings import PREFIX, Settings

DURABILITY = "Redis without persistence, PostgreSQL with fsync and synchronous commit"
START_SECONDS = 30.0
POLL = 0.02
SMALLEST_SCALE = 0.01
"""Below this scale, benchmarks are only tried and not measured."""


class Bench:
    """One run: its servers and its scale."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._stack = ExitStack()
        self._postgres: EmbeddedPostgres | None = None

    def __enter__(self) -> Self:
        self._folder = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="jobtrail-bench-"))
        )
        self.redis = EmbeddedRedis(self._subfolder("redis"), persist=False)
        self._stack.enter_context(self.redis)
        self.client = self._stack.enter_context(connect(self.redis.url))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def postgres(self) -> EmbeddedPostgres:
        """A PostgreSQL server with all migrations, started at the first use."""
        if self._postgres is None:
            server = EmbeddedPostgres(self._subfolder("postgres"), fast=False)
            self._postgres = self._stack.enter_context(server)
            apply(server.url)
        return self._postgres

    @contextmanager
    def fresh_postgres(self) -> Iterator[EmbeddedPostgres]:
        """Replace `postgres` by a new cluster without statistics."""
        shared = self._postgres
        with EmbeddedPostgres(Path(tempfile.mkdtemp(dir=self._folder)), fast=False) as server:
            apply(server.url)
            self._postgres = server
            try:
                yield server
            finally:
                self._postgres = shared

    def measured(self, count: int, work: Callable[[], object], *pids: int) -> Sample:
        """Do some work on `count` events; return their rate, and the CPU time of each.

        `pids` are the measured processes, whose CPU time includes that of their children; without
        any, it is this process with the commands that it has waited for.
        """
        spent, started = self.spent(*pids), time.perf_counter()
        work()
        elapsed = time.perf_counter() - started
        return Sample(count / elapsed, self.spent(*pids).since(spent).each(count))

    def spent(self, *pids: int) -> Cpu:
        """Return the CPU seconds spent until now."""
        return Cpu(
            sum(map(tree_cpu_seconds, pids)) if pids else own_cpu_seconds(),
            tree_cpu_seconds(self.redis.pid),
            tree_cpu_seconds(self._postgres.pid) if self._postgres else 0.0,
        )

    def scaled(self, whole: int, *, least: int = 1) -> int:
        """Return a size at the scale of this run, where a full run has `whole`."""
        return max(least, round(whole * self.scale))

    def rounds(self, whole: int) -> int:
        """Return the number of rounds; a trial has one."""
        return 1 if self.trial else whole

    @property
    def trial(self) -> bool:
        """True for a small run, which only tests that everything works."""
        return self.scale < SMALLEST_SCALE

    def empty(self) -> None:
        """Delete all keys of Redis."""
        self.client.flushall()

    def settings(self) -> Settings:
        """Return the settings of a process with both servers."""
        return Settings(
            redis_url=self.redis.url, database_url=self.postgres.url, log_level="warning"
        )

    @contextmanager
    def jobtrail(self, *words: str, environ: Mapping[str, str] | None = None) -> Iterator[Running]:
        """Run a command of the product as a process, like a deployment."""
        # -P: run the installed product, and not modules of the working directory.
        with self.process([sys.executable, "-P", "-m", "ops", *words], environ=environ) as running:
            yield running

    @contextmanager
    def process(
        self, argv: list[str], *, environ: Mapping[str, str] | None = None
    ) -> Iterator[Running]:
        """Run a command with this run's servers in its environment."""
        settings = self.settings()
        env = {
            **os.environ,
            f"{PREFIX}REDIS_URL": settings.require_redis_url(),
            f"{PREFIX}DATABASE_URL": settings.require_database_url(),
            f"{PREFIX}LOG_LEVEL": "info",
            f"{PREFIX}LOG_FORMAT": "json",
            **(environ or {}),
        }
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".log") as log:
            child = Child(argv, env=env, output=log.fileno())
            try:
                yield Running(child, Path(log.name))
            finally:
                child.stop()

    def facts(self) -> dict[str, str]:
        """Return the versions of the servers."""
        with psycopg.connect(self.postgres.url) as connection:
            version = connection.execute("SHOW server_version").fetchone()
        return {
            "redis": str(self.client.info("server")["redis_version"]),
            "postgres": str(version and version[0]),
            "durability": DURABILITY,
        }

    def _subfolder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder


class Running:
    """A process of the product, and its output."""

    def __init__(self, child: Child, log: Path) -> None:
        self._child = child
        self._log = log
        self.pid = child.pid

    @property
    def running(self) -> bool:
        """True while it has not ended."""
        return self._child.poll() is None

    def wait_for_output(self, word: str, seconds: float = START_SECONDS) -> str:
        """Wait for a line of output with this word, and return it.

        Raises:
            RuntimeError: the process ended, or did not print it in time.
        """
        deadline = time.monotonic() + seconds
        while (line := self._line(word)) is None:
            if not self.running or time.monotonic() > deadline:
                raise RuntimeError(f"no {word!r} from the process: {self._log.read_text()[-2000:]}")
            time.sleep(POLL)
        return line

    def _line(self, word: str) -> str | None:
        lines = self._log.read_text(errors="replace").splitlines()
        return next((line for line in lines if word in line), None)


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until a condition holds.

    Raises:
        RuntimeError: it did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds:.0f} s it is still not true that {what}")
        time.sleep(POLL)
