"""Pages and code use the terms of the glossary, and none of the words that it rules out."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GLOSSARY = DOCS / "glossary.md"
CODE = {".py", ".sql", ".lua"}
PRODUCT = ("streams", "sql", "workers", "projections", "consumers", "api", "ops")

_TABLE = re.compile(r"<!-- forbidden: ([a-z, ]+) -->(.*?)<!-- end of forbidden -->", re.DOTALL)
_CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`|<!--.*?-->", re.DOTALL)

PAGES = sorted(
    [
        page
        for page in DOCS.rglob("*.md")
        if not page.name.endswith(".ko.md")  # Korean has words of its own.
    ]
    + [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")]
)


def forbidden(where: str) -> dict[str, str]:
    """Return what to write instead, by the words that are not used in `docs` or in `code`."""
    rows = "".join(
        table for scope, table in _TABLE.findall(GLOSSARY.read_text()) if where in scope.split(", ")
    )
    return dict(re.findall(r"^\| (?!not \|)(\S[^|]*?) \| (\S[^|]*?) \|$", rows, re.MULTILINE))


def prose(page: Path) -> str:
    """Return a page without code, and the glossary without the tables of forbidden words."""
    text = _TABLE.sub("", page.read_text())
    return _CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text)


def remarks(module: Path) -> Iterator[str]:
    """Return the docstrings and comments of a module, or the comments of SQL or a script."""
    source = module.read_text()
    if module.suffix != ".py":
        yield from re.findall(r"--(.*)", source)
        return
    for node in ast.walk(ast.parse(source)):
        # Also the text below a field or a constant.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def found_in(text: str, words: Mapping[str, str]) -> list[str]:
    """Return each forbidden word of a text, with what to write instead."""
    return [
        f"{match[0]!r}: write {instead}"
        for word, instead in words.items()
        for match in re.finditer(_pattern(word), text, re.IGNORECASE)
    ]


def _pattern(word: str) -> str:
    words = r"\s+".join(map(re.escape, word.split()))
    return rf"\b{words}s?\b"


def test_glossary_has_the_tables() -> None:
    assert forbidden("code")["event log"] == "stream"
    assert forbidden("code").items() < forbidden("docs").items()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_forbidden_word_in_a_page(page: Path) -> None:
    """The tables of the glossary have the words to use instead."""
    assert found_in(prose(page), forbidden("docs")) == []


@pytest.mark.parametrize("package", PRODUCT)
def test_no_forbidden_word_in_the_code(package: str) -> None:
    """The first table of the glossary has the words to use instead."""
    words = forbidden("code")
    found = [
        f"{module.relative_to(ROOT)}: {each}"
        for module in (ROOT / package).rglob("*")
        if module.suffix in CODE
        for remark in remarks(module)
        for each in found_in(remark, words)
    ]
    assert found == []


def test_terms_are_in_the_glossary_once() -> None:
    terms = re.findall(r"^### (.+)$", GLOSSARY.read_text(), re.MULTILINE)
    assert len(terms) == len({term.lower() for term in terms})
