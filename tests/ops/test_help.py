"""The help of every command: its order, its examples and the settings that matter."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from ops.cli import app
from ops.command_line.help_texts import EXAMPLES, settings_of
from ops.unknown_variables import known_variables

ROOT: Any = get_command(app)


def leaves() -> Iterator[tuple[str, Any]]:
    """Yield the words of every command that does something, and the command."""
    for name, command in ROOT.commands.items():
        if command.hidden:
            continue
        own = getattr(command, "commands", None)
        yield from ((f"{name} {each}", found) for each, found in (own or {}).items())
        if own is None:
            yield name, command


LEAVES = tuple(leaves())


def test_commands_are_in_groups_in_the_order_of_their_use() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    words = ["On this machine", "up", "env", "Jobs and events", "append", "status", "tail"]
    words += ["Deployment", "migrate", "consume", "api", "Operators", "doctor", "lag", "dead"]
    places = [re.search(rf"^\W+{word}\b", shown, re.MULTILINE) for word in words]
    starts = [found.start() for found in places if found is not None]
    assert len(starts) == len(words)
    assert starts == sorted(starts)


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_help_has_examples_that_work_and_settings_that_exist(words: str, command: Any) -> None:
    assert EXAMPLES[words]
    for example in EXAMPLES[words]:
        line = shlex.split(re.search(r"jobtrail [^|)]*", example)[0])  # type: ignore[index]
        given = line[1 + len(words.split()) :]
        assert line[1 : -len(given) or None] == words.split()
        command.make_context(words, given)
    names = [name for name, _ in settings_of(words)]
    assert names
    assert set(names) <= set(known_variables())


@pytest.mark.parametrize("words", ["up", "api"])
def test_help_names_what_a_page_of_another_origin_needs(words: str) -> None:
    assert "JOBTRAIL_CORS_ORIGINS" in CliRunner().invoke(app, [words, "--help"]).output


@pytest.mark.parametrize("words", [words for words, _ in LEAVES])
def test_help_fits_into_80_columns(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, [*words.split(), "-h"]).output
    assert max(map(len, shown.splitlines())) <= 80
    assert "bool" not in shown
    for example in EXAMPLES[words]:
        assert example in shown
    assert "…" not in shown.replace("…]", "")


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_short_options_are_the_same_everywhere(words: str, command: Any) -> None:
    options = {name: each.opts for each in command.params for name in each.opts}
    for long, short in {"--tenant": "-t", "--json": "-j", "--port": "-p"}.items():
        if long in options:
            assert short in options[long], words
