"""The servers and processes that are measured, on embedded servers in a folder of their own."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from ops.supervisor import Child
from sql.migrate import apply
from streams.connection import connect
from streams.settings import PREFIX, Settings

DURABILITY = "Redis without persistence, PostgreSQL with fsync and synchronous commit"
START_SECONDS = 30.0
POLL = 0.02


class Bench:
    """One run: the servers, and how large it is to be."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._stack = ExitStack()

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

    @cached_property
    def postgres(self) -> EmbeddedPostgres:
        """A PostgreSQL with all migrations, started when first asked for."""
        server = EmbeddedPostgres(self._subfolder("postgres"), fast=False)
        self._stack.enter_context(server)
        apply(server.url)
        return server

    def scaled(self, whole: int, *, least: int = 1) -> int:
        """Give the size of something in this run, of which a whole run has `whole`."""
        return max(least, round(whole * self.scale))

    def empty(self) -> None:
        """Empty the Redis."""
        self.client.flushall()

    def settings(self) -> Settings:
        """Give the settings of a process with both servers."""
        return Settings(
            redis_url=self.redis.url, database_url=self.postgres.url, log_level="warning"
        )

    @contextmanager
    def jobtrail(self, *words: str, environ: Mapping[str, str] | None = None) -> Iterator[Running]:
        """Run a command of the product as a process, as a deployment does."""
        # -P: what runs is the installed product, whatever the folder we stand in holds.
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
        """Give the servers' versions."""
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
    """A process of the product, and what it said."""

    def __init__(self, child: Child, log: Path) -> None:
        self._child = child
        self._log = log
        self.pid = child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def said(self, word: str, seconds: float = START_SECONDS) -> str:
        """Wait for a line with this word and give it.

        Raises:
            RuntimeError: the process ended, or did not say it in time.
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
    """Wait until it holds.

    Raises:
        RuntimeError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(POLL)
