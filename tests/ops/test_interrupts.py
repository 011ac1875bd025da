"""A second Ctrl-C ends every command at once, whatever the command waits for.

The servers accept connections and never answer. Each command is interrupted while it waits for one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from tests.support import forked
from tests.support.processes import descendants, frozen, runs
from tests.support.servers import copy_folder, server_folder
from tests.support.waiting import eventually
from tests.support.workbooks import roster

TENANT = ("--tenant", "1")
OF_REDIS: Sequence[Sequence[str]] = [
    ("api",),
    ("append", *TENANT),
    ("consume", "rows"),
    ("consume", "status"),
    ("consume", "status", "--processes", "2"),
    ("replay", "status", "--reset"),
    ("roster", "import", "WORKBOOK", *TENANT),
    ("tail", *TENANT),
    ("trim",),
    ("up",),
    ("verify", "status"),
    ("video", "encode", "WORKBOOK", *TENANT),
]
OF_POSTGRES: Sequence[Sequence[str]] = [
    ("api",),
    ("consume", "rows"),
    ("migrate",),
    ("old-tables", "build"),
    ("replay", "rows", "--reset"),
    ("roster", "import", "WORKBOOK", *TENANT),
    ("up",),
    ("verify", "rows"),
]
ASKED = {"redis": "/api/v1/jobs/a1/progress/", "postgres": "/api/v1/jobs/"}
"""A request that makes the API wait for a server."""


class Rig(NamedTuple):
    """Servers of one test, one of which hangs, and a file for commands that read one."""

    redis: EmbeddedRedis
    postgres: EmbeddedPostgres
    workbook: Path

    def port(self, server: str) -> int:
        return self.redis.port if server == "redis" else self.postgres.port

    def pid(self, server: str) -> int:
        return self.redis.pid if server == "redis" else self.postgres.pid


@pytest.fixture(scope="module")
def rig(postgres_folder: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        redis_folder = stack.enter_context(server_folder())
        redis = stack.enter_context(EmbeddedRedis(redis_folder, persist=False))
        folder = stack.enter_context(server_folder())
        copy_folder(postgres_folder, folder)
        postgres = stack.enter_context(EmbeddedPostgres(folder, fast=True))
        workbook = stack.enter_context(server_folder()) / "students.xlsx"
        roster(workbook, 5)
        yield Rig(redis, postgres, workbook)


@pytest.mark.parametrize(
    ("hanging", "words"),
    [
        *(("redis", words) for words in OF_REDIS),
        *(("postgres", words) for words in OF_POSTGRES),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_server_hangs__ctrl_c_again__ends_the_command(
    rig: Rig, hanging: str, words: Sequence[str]
) -> None:
    with frozen(rig.pid(hanging)), _started(rig, words) as process, ExitStack() as stack:
        if words == ("api",):
            stack.enter_context(_asked(process, ASKED[hanging]))
        eventually(partial(_waits, process, rig.port(hanging)), 20, "it waits for the server")
        family = _family(process)

        process.send_signal(signal.SIGINT)
        eventually(partial(_ended, process), 5, "it ends")

        eventually(lambda: not [pid for pid in family if runs(pid)], 5, "its children end")
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


@contextmanager
def _started(rig: Rig, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command whose input is a pipe with one event, which stays open."""
    environ = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    with server_folder() as folder:
        environ |= {
            "JOBTRAIL_REDIS_URL": rig.redis.url,
            "JOBTRAIL_DATABASE_URL": rig.postgres.url,
            "JOBTRAIL_DATA_DIR": str(folder),
            "JOBTRAIL_AUTH": "dev",
            "JOBTRAIL_API_PORT": "0",
            "JOBTRAIL_ROSTER_PASSWORD": "first-password",
        }
        process = forked.begin([_word(rig, word) for word in words], environ, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(b'{"type":"done","id":"a1"}\n')
        process.stdin.flush()
        try:
            yield process
        finally:
            for pid in _family(process):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            process.wait()


def _word(rig: Rig, word: str) -> str:
    return str(rig.workbook) if word == "WORKBOOK" else word


def _asked(process: subprocess.Popen[bytes], path: str) -> socket.socket:
    """Send a request to the API once it serves, without waiting for the answer."""
    assert process.stdout is not None
    url = urlsplit(process.stdout.readline().decode().removeprefix("api: ").strip())
    connection = socket.create_connection((url.hostname or "", url.port or 0))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Tenant-ID: 1\r\n\r\n".encode())
    return connection


def _family(process: subprocess.Popen[bytes]) -> set[int]:
    with suppress(psutil.NoSuchProcess):
        return {process.pid, *descendants(process.pid)}
    return set()


def _waits(process: subprocess.Popen[bytes], port: int) -> bool:
    """Return whether a command, or a child of it, has a connection to the server, or has ended."""
    if process.poll() is not None:
        return True
    for pid in _family(process):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            connections = psutil.Process(pid).net_connections(kind="tcp")
            if any(each.raddr and each.raddr.port == port for each in connections):
                return True
    return False


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Send SIGINT again if the command has not ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return process.returncode is not None
