"""Real processes of the command line, against real servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Protocol

import pytest

from tests.support import forked
from tests.support.waiting import ENDING


class Start(Protocol):
    """Starts `jobtrail WORDS…` with settings; it is ended after the test."""

    def __call__(self, *words: str, **settings: str) -> subprocess.Popen[bytes]: ...


def environ(settings: Mapping[str, str]) -> dict[str, str]:
    """Give an environment with these settings and no other of ours."""
    inherited = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    return inherited | {f"JOBTRAIL_{name.upper()}": text for name, text in settings.items()}


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as begin:
        yield begin


@contextmanager
def starting() -> Iterator[Start]:
    """Return what starts processes, and end them afterwards."""
    with ExitStack() as stack:

        def begin(*words: str, **settings: str) -> subprocess.Popen[bytes]:
            process = forked.begin(words, environ(settings), stderr=subprocess.DEVNULL)
            stack.callback(_end, process)
            return process

        yield begin


@pytest.fixture
def servers(redis_url: str, database_url: str) -> dict[str, str]:
    """Settings that name an empty Redis and a migrated database."""
    return {"redis_url": redis_url, "database_url": database_url}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
