"""Commands, options and settings that the pages name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ops.cli import app
from streams.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / name for name in ("README.md", "README.ko.md", "CONTRIBUTING.md", "SECURITY.md")),
    ROOT / "deploy" / "README.md",
]
_CODE = re.compile(r"```\w*[^\n]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
_CALL = re.compile(r"(?:^ *|[;&|(] ?|/bin/)jobtrail ([a-z][a-z-]*(?: [^\n`|&;#]*)?)", re.MULTILINE)


def calls(page: Path) -> Iterator[str]:
    """Return the words after `jobtrail` in code of a page."""
    for block, span in _CODE.findall(page.read_text()):
        yield from _CALL.findall(block or span)


def problem(words: str, group: Any) -> str | None:
    """Return what is wrong with a call, or None."""
    name, *rest = words.split()
    command = group.commands.get(name)
    if command is None:
        return f"no command {name!r}"
    if hasattr(command, "commands") and rest:
        return problem(" ".join(rest), command)
    known = {option for parameter in command.params for option in parameter.opts}
    known |= {"--help"}
    for word in rest:
        option = word.strip("[]()….,:").partition("=")[0]
        if option.startswith("--") and option not in known:
            return f"{name}: no option {option}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_exist(page: Path) -> None:
    root: Any = get_command(app)
    settings = {PREFIX + name.upper() for name in Settings.model_fields} | EXTRA.keys()
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]", page.read_text()))
    wrong = [*(named - settings), *filter(None, (problem(each, root) for each in calls(page)))]
    assert wrong == []


EXTRA: Mapping[str, str] = {
    "JOBTRAIL_ROSTER_PASSWORD": "the default of an option of the roster import",
    **dict.fromkeys(
        (
            "JOBTRAIL_TEST_DEBIAN",
            "JOBTRAIL_TEST_GENERATORS",
            "JOBTRAIL_TEST_NEWEST_ARQ",
            "JOBTRAIL_TEST_NODE_MODULES",
            "JOBTRAIL_TEST_OLDEST_CELERY",
            "JOBTRAIL_TEST_VALKEY",
            "JOBTRAIL_TEST_THOROUGH",
        ),
        "for tests alone",
    ),
}
"""Variables that are no setting."""
