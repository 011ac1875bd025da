"""Pages use the terms of the glossary, and none of the words that it rules out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GLOSSARY = DOCS / "glossary.md"

_TABLE = re.compile(r"<!-- forbidden: docs -->(.*?)<!-- end of forbidden -->", re.DOTALL)
_CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`|<!--.*?-->", re.DOTALL)

PAGES = sorted(
    [
        page
        for page in DOCS.rglob("*.md")
        if not page.name.endswith(".ko.md")  # Korean has words of its own.
    ]
    + [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")]
)


def forbidden() -> dict[str, str]:
    """Return what to write instead, by the words that are not used."""
    rows = "".join(_TABLE.findall(GLOSSARY.read_text()))
    return dict(re.findall(r"^\| (?!not \|)(\S[^|]*?) \| (\S[^|]*?) \|$", rows, re.MULTILINE))


def prose(page: Path) -> str:
    """Return a page without code, and the glossary without the tables of forbidden words."""
    text = _TABLE.sub("", page.read_text())
    return _CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text)


def test_glossary_has_the_table() -> None:
    assert forbidden()["event log"] == "stream"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_forbidden_word(page: Path) -> None:
    """The table of the glossary has the word to use instead."""
    text, found = prose(page), []
    for words, instead in forbidden().items():
        pattern = r"\s+".join(map(re.escape, words.split()))
        for match in re.finditer(rf"\b{pattern}s?\b", text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{page.relative_to(ROOT)}:{line}: {match[0]!r}: write {instead}")
    assert found == []


def test_terms_are_in_the_glossary_once() -> None:
    terms = re.findall(r"^### (.+)$", GLOSSARY.read_text(), re.MULTILINE)
    assert len(terms) == len({term.lower() for term in terms})
