"""Pages as programs: the blocks of a page are run, and its output compared in shape."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple, Self

from tests.support.waiting import ENDING, eventually

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STAMPS = (".installed", ".runnable")
"""Files by which make knows that packages are installed."""
_BLOCK = re.compile(
    r"^( *)```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    """The terminal of commands, or the name of a file; empty where there is none."""
    text: str


class Step(NamedTuple):
    """A block, and the output that the page shows below it."""

    block: Block
    output: str | None


def clone(folder: Path, names: Iterable[str]) -> None:
    """Fill a folder as a clone in which `make setup` has been run before."""
    for name in names:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name not in STAMPS:
            (folder / ".venv" / part.name).symlink_to(part)
    for name in STAMPS:
        (folder / ".venv" / name).touch()


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page, without the indentation that a tab gives them."""
    return [
        Block(language, title, dedent(text))
        for _, language, title, text in _BLOCK.findall((DOCS / page).read_text())
    ]


def example(page: str, title: str) -> Block:
    """Return the block of a page with a title."""
    (found,) = [block for block in blocks_of(page) if block.title == title]
    return found


def steps(page: str) -> Iterator[Step]:
    """Return the blocks of a page that have a title, in order."""
    blocks = blocks_of(page)
    for block, after in zip(blocks, [*blocks[1:], Block("", "", "")], strict=True):
        if block.title:
            yield Step(block, after.text if after.language == "text" else None)


def shape(output: str) -> re.Pattern[str]:
    """Return a pattern of output in which numbers, ids and what `…` stands for may differ."""
    parts = _VARIABLE.split(output.strip())
    return re.compile("".join(map(_part_pattern, parts)), re.DOTALL)


_VARIABLE = re.compile(r"([0-9a-f]{16}|\d+|…|\s+)")


def _part_pattern(part: str) -> str:
    if part == "…":
        return ".*?"
    if part.isspace():
        return r"\s+"
    if part.isdigit():
        return r"\d+"
    return "[0-9a-f]{16}" if re.fullmatch("[0-9a-f]{16}", part) else re.escape(part)


class Terminal:
    """A shell that runs one block after the other; use it as a context manager."""

    def __init__(self, folder: Path, log: Path, environ: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._shell = subprocess.Popen(
                ["bash"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(environ),
                start_new_session=True,
            )
        self._blocks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()
        if self._shell.stdin:
            self._shell.stdin.close()
        self._shell.wait(ENDING)

    def interrupt(self) -> None:
        """Send what Ctrl-C sends."""
        if self._shell.poll() is None:
            os.killpg(self._shell.pid, signal.SIGINT)

    def start(self, commands: str) -> int:
        """Send commands to the shell, and return where their output begins."""
        begin = self._log.stat().st_size
        self._blocks += 1
        assert self._shell.stdin
        # A program must not read the commands that follow it.
        end = f'\nstatus=$?; echo; echo "finished {self._blocks}: $status"\n'
        self._shell.stdin.write(f"{{\n{commands}}} </dev/null{end}".encode())
        self._shell.stdin.flush()
        return begin

    def output(self, begin: int) -> str:
        """Return what was written from a place on."""
        with self._log.open("rb") as log:
            log.seek(begin)
            return log.read().decode()

    def run(self, commands: str) -> str:
        """Run commands to their end, and return their output; they must succeed."""
        begin, number = self.start(commands), self._blocks
        done = re.compile(rf"^finished {number}: (\d+)$", re.MULTILINE)
        found = eventually(lambda: done.search(self.output(begin)), 10, commands)
        output = self.output(begin)
        assert found[1] == "0", output
        return done.sub("", output).strip()
