"""Text from outside, made safe for a terminal and for one line of a log.

Used by all packages for the text of errors, and by `streams/logging_setup.py`, `ops.printing`
and `consumers.tracing` for its escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0d]"
    "|[\U000e0100-\U000e01ef]"
)
"""Printable by Unicode's rules, but invisible; two selectors of emoji are allowed."""

_SPACES = frozenset(map(chr, (0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)))
_ESCAPED_BYTES = range(0xDC80, 0xDD00)
"""The code points of bytes that are not UTF-8 under `surrogateescape`."""


def visible(text: str, kept: str = "") -> str:
    """Return text in which characters that move the cursor, reorder or hide text are escaped.

    These are control characters (escape sequences, line ends), bidirectional controls, characters
    without width, and surrogates. Characters in `kept` are not escaped.
    """
    return _escaped(text, lambda char: char if char in kept else _text_escape(char))


def visible_json(text: str, *, ascii_only: bool = False) -> str:
    r"""Return JSON text with the same characters as `\u` escapes; its meaning is the same."""
    if ascii_only:
        return re.sub(r"[^ -~]", lambda found: _json_escape(found[0]), text)
    return _escaped(text, _json_escape)


def one_line(error: BaseException) -> str:
    """Return the text of an error as one line, or the name of its class if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def bounded(text: str, length: int) -> str:
    """Return at most `length` characters; the last one is an ellipsis if text was cut off."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _harmless(char) else escape(char) for char in text)


def _harmless(char: str) -> bool:
    return (char.isprintable() or char in _SPACES) and not _BLANK.match(char)


def _text_escape(char: str) -> str:
    if ord(char) in _ESCAPED_BYTES:
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
