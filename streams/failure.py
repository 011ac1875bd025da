"""Text and code with which a `failed` event describes an exception.

Used by the job reports, `streams/integrations` and `streams/compat`.
"""

from __future__ import annotations

from typing import NamedTuple

from .events import TEXT_LENGTH, WORD_LENGTH


class Failure(NamedTuple):
    """The fields of a `failed` event, within the limits of the format."""

    error: str
    code: str


def failure_of(exception: BaseException) -> Failure:
    """Return the description of an exception; raises nothing, whatever the exception does.

    The class name replaces a text that is empty or not available. The texts of `SystemExit` and
    similar exceptions are too short by themselves ("1") and include the class name.
    """
    name = type(exception).__name__
    text = text_of(exception)
    if text not in ("", name) and not isinstance(exception, Exception):
        text = f"{name}: {text}"
    return Failure(valid_text(text or name), valid_text(name, WORD_LENGTH))


def described(error: BaseException) -> str:
    """Return the class and the text of an exception, for a line of the log."""
    return f"{type(error).__name__}: {text_of(error)}"


def text_of(value: object) -> str:
    """Return the text of any value, or the name of its class if its own code raises."""
    try:
        return str(value)
    except Exception:
        return type(value).__name__


def valid_text(text: str, length: int = TEXT_LENGTH) -> str:
    """Return a text cut to `length` characters, with `?` for what UTF-8 cannot represent."""
    return text[:length].encode("utf-8", "replace").decode()
