"""The quickstart: every block of the page is run, in order, and shows what the page shows."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs.pages import Terminal, clone, shape, steps
from tests.support.waiting import eventually

PORT = "127.0.0.1:8000"
"""The address of the API on the page; the test takes a free port."""


def printed_by_up(terminal: Terminal, command: str, shown: str) -> str:
    """Start what runs until Ctrl-C, and return what it prints once it is ready."""
    begin = terminal.start(command)
    return eventually(lambda: shape(shown).search(terminal.output(begin)), 60)[0]


def run_and_compare(terminal: Terminal, commands: str, shown: str | None) -> None:
    """Run commands and compare what they print; what only reads may be early on a busy machine."""

    def compare() -> bool:
        output = terminal.run(commands)
        assert shown is None or shape(shown).fullmatch(output), output
        return True

    if commands.startswith("curl"):
        eventually(compare, 5, commands)
    else:
        compare()


@pytest.mark.thorough
def test_quickstart(tmp_path: Path) -> None:
    clone(tmp_path, ("Makefile", "pyproject.toml", "constraints.txt", "streams"))
    environ = os.environ | {"JOBTRAIL_API_PORT": "0", "JOBTRAIL_LOG_LEVEL": "warning"}
    first = Terminal(tmp_path, tmp_path / "first.log", environ)
    second = Terminal(tmp_path, tmp_path / "second.log", environ)
    api = PORT
    with first, second:
        for block, shown in steps("quickstart.md"):
            if block.language != "sh":
                (tmp_path / block.title).write_text(block.text)
            elif shown is not None and block.title == "Terminal 1":
                printed = printed_by_up(first, block.text, shown)
                api = re.findall(r"^api: http://(\S+)$", printed, re.MULTILINE)[0]
            else:
                terminal = first if block.title == "Terminal 1" else second
                run_and_compare(terminal, block.text.replace(PORT, api), shown)
        assert {block.title for block, _ in steps("quickstart.md")} == {
            "Terminal 1",
            "Terminal 2",
            "worker.py",
        }
