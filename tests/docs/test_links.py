"""Links of the pages that a code host shows lead to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "README.ko.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = [link for link in _LINK.findall((ROOT / page).read_text()) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_korean_readme_links_to_what_the_english_one_does() -> None:
    english, korean = (
        {link for link in _LINK.findall((ROOT / page).read_text()) if "README" not in link}
        for page in ("README.md", "README.ko.md")
    )
    assert english - korean == {"docs/migration.md"}
    assert korean - english == set()


def test_readmes_have_the_same_commands_and_figures() -> None:
    blocks = [
        re.findall(
            r"^(?!#)(\S[^#\n]*?) *(?:#.*)?$",
            "\n".join(re.findall(r"```\w+\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)),
            re.MULTILINE,
        )
        for page in ("README.md", "README.ko.md")
    ]
    assert blocks[0] == blocks[1]
    numbers = [
        sorted(set(re.findall(r"\d+,\d+|\d+\.\d+", (ROOT / page).read_text())))
        for page in ("README.md", "README.ko.md")
    ]
    assert numbers[0] == numbers[1]
