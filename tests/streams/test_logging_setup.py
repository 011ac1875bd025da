"""A long text of another process does not fill the log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from streams.logging_setup import LONGEST_VALUE

PROGRAM = f"""
import structlog
from streams.logging_setup import configure
from streams.settings import Settings
configure(Settings(log_format={{style!r}}))
structlog.get_logger().warning("read", tenant="x" * 1_000_000)
import logging
logging.getLogger("sdk").warning("read %s", "y" * {10 * LONGEST_VALUE})
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_long_values_are_cut_and_their_length_is_logged(style: str) -> None:
    program = [sys.executable, "-c", PROGRAM.format(style=style)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    structured, standard = done.stderr.strip().splitlines()
    for line in (structured, standard):
        assert LONGEST_VALUE < len(line) < LONGEST_VALUE + 500
    assert "(1000000 characters)" in structured
    if style == "json":
        assert json.loads(structured)["level"] == logging.getLevelName(logging.WARNING).lower()


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"NO_COLOR": "1"}, False)],
)
def test_lines_for_people_are_coloured_on_terminals_or_where_it_is_forced(
    variables: dict[str, str],
    coloured: bool,  # noqa: FBT001 - an example of pytest
) -> None:
    inherited = {name: text for name, text in os.environ.items() if "COLOR" not in name}
    program = [sys.executable, "-c", PROGRAM.format(style="console")]
    done = subprocess.run(program, capture_output=True, env=inherited | variables, check=True)
    assert (b"\x1b[" in done.stderr) == coloured
