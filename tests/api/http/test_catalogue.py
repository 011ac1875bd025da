"""The catalogue of messages is whole, and the console has no text besides it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.catalogue import LANGUAGES, Translation, catalogue

STATIC = Path(__file__).parents[3] / "api" / "operators" / "static"
MODULES = sorted(STATIC.glob("*.js"))
PLURALS = {"en": {"one", "other"}, "ko": {"other"}}
"""The plural forms of each language (Unicode CLDR)."""

_VALUE = re.compile(r"\{(\w+)\}")
_COMMENT = re.compile(r"^\s*//[^\n]*|(?<=[;,{}]) //[^\n]*|/\*.*?\*/", re.MULTILINE | re.DOTALL)
_LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`', re.DOTALL)
_KEY = re.compile(
    r"\b(?:t|parts|known)\(\s*(?:[^\"`()]+ \? )?(?:\"([^\"]+)\"|`([^`]+)`)(?: : \"([^\"]+)\")?"
)
_NO_TEXT = re.compile(r"(?:class|d|viewBox): ?[^,]*$|(?:querySelector(?:All)?|error)\($")
"""Texts before a literal that is no text: attributes, selectors, the developer's console."""
_WORDS = re.compile(r"[A-Z][a-z]+ [a-z]|^[A-Z][a-z]{2,}|[a-z]{2,} [a-z]{2,}|[가-힣]")
NO_TEXTS = {
    "한국어",
    "Etc/UTC",
    "AbortError",
    "TimeoutError",
    "Escape",
    "Enter",
    "English",
    "Bearer  ",
    "ArrowDown",
    "ArrowUp",
}
"""Literals that look like texts: names of languages in themselves, of errors and of keys."""


def forms(text: Translation) -> Iterator[str]:
    yield from [text] if isinstance(text, str) else text.values()


MESSAGES = [
    pytest.param(message, id=f"{area}.{key}")
    for area, messages in catalogue().items()
    for key, message in messages.items()
]


def test_catalogue__has_messages_of_problems_and_of_the_console() -> None:
    assert {"problems", "shell", "time"} <= catalogue().keys()


@pytest.mark.parametrize("area", catalogue())
def test_message__is_in_every_language_with_the_same_values(area: str) -> None:
    for key, message in catalogue()[area].items():
        assert tuple(message) == LANGUAGES, key
        values = {
            frozenset(_VALUE.findall(each)) for text in message.values() for each in forms(text)
        }
        counted = any(not isinstance(text, str) for text in message.values())
        # The form for one may do without its number.
        assert len({each - {"count", "shown"} if counted else each for each in values}) == 1, key
        for language, text in message.items():
            assert all(each.strip() == each != "" for each in forms(text)), key
            assert isinstance(text, str) or set(text) == PLURALS[language], key


def source(module: Path) -> str:
    return _COMMENT.sub("", module.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES, ids=lambda each: each.name)
def test_module__every_message_that_it_names_is_in_the_catalogue(module: Path) -> None:
    for found in _KEY.finditer(source(module)):
        for key in filter(None, found.groups()):
            area, _, name = key.partition(".")
            assert area in catalogue(), key
            pattern = re.sub(r"\\\$\\\{.*?\\\}", ".*", re.escape(name))
            assert any(re.fullmatch(pattern, each) for each in catalogue()[area]), key


@pytest.mark.parametrize("module", MODULES, ids=lambda each: each.name)
def test_module__has_no_text_that_is_not_from_the_catalogue(module: Path) -> None:
    assert literal_texts(source(module)) == []


def literal_texts(code: str) -> list[str]:
    """Return the literals that an operator could read."""
    found = []
    for literal in _LITERAL.finditer(code):
        text = re.sub(r"\$\{[^}]*\}", " ", literal[0][1:-1])
        before = code[: literal.start()].rsplit("\n", 1)[-1][-60:]
        if text in NO_TEXTS or not _WORDS.search(text) or _NO_TEXT.search(before):
            continue
        found.append(text)
    return found


def test_literal_texts__are_found() -> None:
    assert literal_texts('h("p", { class: "note bad" }, "No jobs match.")') == ["No jobs match."]
    assert literal_texts('{ title: "State" }') == ["State"]
    assert literal_texts("`${n} jobs wait`") == ["  jobs wait"]
