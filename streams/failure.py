"""Text and code with which a `failed` event describes an exception.

Used by the job reports (`streams.reporting`), `streams.integrations` and `streams.compat`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .events import TEXT_LENGTH, WORD_LENGTH

_LOG = logging.getLogger(__name__)

ErrorText = Callable[[BaseException], str | None]
"""Returns the text for users that describes an exception, or None if they get its code alone."""


class Failure(Exception):
    """A failure of which only a text and a code are known, such as the end of a killed worker."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class FailureFields(NamedTuple):
    """The fields of a `failed` event, within the limits of the format."""

    error: str | None
    code: str
    operator_detail: str | None = None


def failure_of(exception: BaseException, error_text: ErrorText | None = None) -> FailureFields:
    """Return the description of an exception; raises nothing, whatever the exception does.

    The class name replaces a text that is empty or not available. The texts of `SystemExit` and
    similar exceptions are too short by themselves ("1") and include the class name. With
    `error_text`, users get what that returns, and operators the text of the exception.
    """
    name = _name_of(exception)
    code = valid_text(name, WORD_LENGTH)
    if error_text is not None:
        return FailureFields(_public_text(exception, error_text), code, operator_text(exception))
    text = text_of(exception)
    if text not in ("", name) and not isinstance(exception, Exception):
        text = f"{name}: {text}"
    return FailureFields(valid_text(text or name), code)


def failed_fields(
    error: object, error_text: ErrorText | None, given: Mapping[str, object]
) -> dict[str, object]:
    """Return the fields of a failure that an application reports; it may be a text.

    `given` has the fields that the application has chosen itself; None stands for no value.
    """
    fields: dict[str, object] = {"error": error}
    if isinstance(error, BaseException):
        fields = failure_of(error, error_text)._asdict()
    fields |= {name: value for name, value in given.items() if value is not None}
    for name in ("error", "operator_detail"):
        if fields.get(name) is not None:
            fields[name] = valid_text(text_of(fields[name]))
    return fields


def operator_text(error: BaseException) -> str:
    """Return the description of an exception for operators, within the limit of the format."""
    return valid_text(described(error))


def cause_of(error: BaseException, retry: type[BaseException]) -> BaseException | None:
    """Return an error, or what was caught before it if it only asks a framework for a retry."""
    return (error.__cause__ or error.__context__) if isinstance(error, retry) else error


def described(error: BaseException) -> str:
    """Return the class and the text of an exception, for a line of the log."""
    return f"{_name_of(error)}: {text_of(error)}"


def text_of(value: object) -> str:
    """Return the text of any value, or the name of its class if its own code raises."""
    try:
        return str(value)
    except Exception:
        return type(value).__name__


def valid_text(text: str, length: int = TEXT_LENGTH) -> str:
    """Return a text cut to `length` characters, with `?` for what UTF-8 cannot represent."""
    return text[:length].encode("utf-8", "replace").decode()


def _name_of(error: BaseException) -> str:
    return error.code if isinstance(error, Failure) else type(error).__name__


def _public_text(exception: BaseException, error_text: ErrorText) -> str | None:
    """Return what the application's function returns; None, with a warning, if it raises."""
    try:
        text = error_text(exception)
    except Exception as problem:
        _LOG.warning("error_text raised %s: users get the code alone", described(problem))
        return None
    return None if text is None else valid_text(text_of(text))
