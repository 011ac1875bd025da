"""Fields of events, from the values that an application passes to a job report.

Used by `streams.reporting.job_events` and `streams.reporting.steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..events import WORD_LENGTH
from .values import as_number, as_text, as_whole_number, encode, label_texts, plain

Fields = dict[str, Any]
_Convert = Callable[[object], object]

NOT_JSON = (TypeError, ValueError, RecursionError)
"""Errors of values that cannot be written as JSON."""
_CONVERTERS: Mapping[str, _Convert] = {
    "id": as_text,
    "job_type": as_text,
    "attempt": as_whole_number,
    "labels": label_texts,
    "step": as_text,
    "percent": as_number,
    "step_index": as_whole_number,
    "step_total": as_whole_number,
    "step_name_display": as_text,
    "step_percent": as_number,
    "remaining_seconds": as_number,
    "code": as_text,
}
"""By field, the function that converts an application's value, such as a UUID, to JSON's type."""
_NUMBERS = frozenset({int, float})
_COMMON_TYPES: Mapping[str, frozenset[type]] = {
    "step": frozenset({str, int, float}),
    "percent": _NUMBERS,
    "step_index": frozenset({int}),
    "step_total": frozenset({int}),
    "step_name_display": frozenset({str}),
    "step_percent": _NUMBERS,
    "remaining_seconds": _NUMBERS,
}
"""By field of progress, the types of values that need no conversion."""
_LARGEST_SURELY_VALID = 2**31
"""Numbers from 0 to this one are valid in every field of progress."""


def converted(fields: Mapping[str, object]) -> Fields:
    """Return fields as those of an event; values that cannot be converted are found later."""
    found: Fields = {}
    for name, value in fields.items():
        if value is None:
            continue
        convert = _CONVERTERS.get(name)
        try:
            made = value if convert is None else convert(value)
        except Exception:  # of the value's own code, or a number has too many digits
            made = value
        if made is not None:
            found[name] = made
    return found


def unwritable(fields: Fields) -> str | None:
    """Return the name of the first field that cannot be written as JSON."""
    for name, value in fields.items():
        try:
            encode(value, ignore)
        except NOT_JSON:
            return name
    return None


def largest(fields: Fields) -> str | None:
    """Return the name of the field whose JSON is the longest."""
    return max(fields, key=lambda name: len(encode(fields[name], ignore)), default=None)


def ignore(value: object) -> None:
    """Accept that JSON has no form for a value, whose text is written instead."""


def result_fields(result: object) -> object:
    """Return the object that is reported as a result: itself, or with the value in a field."""
    if result is None:
        return {}
    if isinstance(result, dict):
        return result
    made = plain(result, ignore)
    return result if isinstance(made, dict) else {"value": result}


def are_surely_valid(fields: Mapping[str, object]) -> bool:
    """Return True if no field of progress can be a mistake, or needs a conversion."""
    return fields["extra"] is None and all(
        value is None or (type(value) in _COMMON_TYPES[name] and _is_surely_valid(value))
        for name, value in fields.items()
        if name != "extra"
    )


def _is_surely_valid(value: Any) -> bool:
    """Return True for a short, printable text, and for a number that is valid in every field."""
    if isinstance(value, str):
        return len(value) <= WORD_LENGTH and value.isprintable()
    return 0 <= value <= _LARGEST_SURELY_VALID  # type: ignore[no-any-return]  # a number


def is_number(step: object) -> bool:
    """Return True if a value is a number and no text."""
    if step is None or isinstance(step, str | bool):
        return False
    try:
        return isinstance(as_number(step), int | float)
    except Exception:  # of the value's own code
        return False
