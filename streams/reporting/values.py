"""Values of an application as texts and as JSON: what reports accept beside the plain types.

Dates and times are written in ISO 8601, durations as seconds, UUIDs, decimals and paths as texts,
dataclasses, models and named tuples as objects, sets and other collections as lists, and scalars
and arrays of numpy as numbers and lists. Used by `streams.integrations.task_reports`,
`streams.reporting.fields` and `streams.reporting.job_events`.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Number
from pathlib import PurePath
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel

from ..events import InvalidEvent, compact, dump_json
from ..failure import text_of

Unknown = Callable[[object], None]
"""Function that is called with each value that JSON has no form for."""

_MAX_DEPTH = 100


def as_text(value: object) -> object:
    """Return numbers, UUIDs and members of an enumeration as texts, and other values unchanged."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str | bool) or value is None:
        return value
    return str(value) if isinstance(value, Number | UUID) else value


def label_texts(labels: object) -> object:
    """Return labels with texts as names and values; those without a value are left out."""
    if not isinstance(labels, Mapping):
        return labels
    texts = {as_text(name): _label(value) for name, value in labels.items() if value is not None}
    return texts or None


def _label(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else as_text(value)


def as_whole_number(value: object) -> object:
    """Return a number without a fraction, or the digits of one, as an integer."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() else value
    try:
        number = int(value)  # type: ignore[call-overload]  # of any type: what is not refused here
    except (TypeError, ValueError, OverflowError):
        return value
    return number if number == value else value


def as_number(value: object) -> object:
    """Return any number, such as a decimal or a scalar of numpy, as a float or an integer."""
    if isinstance(value, int | float | str) or value is None:
        return value
    try:
        return float(value)  # type: ignore[arg-type]  # of any type: what is not refused here
    except (TypeError, ValueError, OverflowError):
        return value


def encode(value: object, unknown: Unknown) -> bytes:
    """Return the JSON of any value; what JSON has no form for is written as its text.

    Raises:
        TypeError, ValueError, RecursionError: it cannot be written at all.
    """
    try:
        return compact(orjson.dumps(value))
    except TypeError:
        return dump_json(plain(value, unknown))


def plain(value: object, unknown: Unknown, depth: int = 0) -> Any:
    """Return a value as what JSON has: objects, lists, texts, numbers, booleans and null."""
    if value is None or isinstance(value, bool):
        return value
    if depth > _MAX_DEPTH:
        unknown(value)
        return "…"
    try:
        return _converted(value, unknown, depth + 1)
    except (RecursionError, InvalidEvent):
        raise
    except Exception:
        # The application's own code, such as a property or `__iter__`, has failed.
        unknown(value)
        return _valid(text_of(value))


def _converted(value: object, unknown: Unknown, depth: int) -> Any:
    if isinstance(value, Enum):
        return plain(value.value, unknown, depth)
    for forms, written in _SCALARS:
        if isinstance(value, forms):
            return written(value)
    fields = _fields(value)
    if fields is not None:
        return {_name(name): plain(each, unknown, depth) for name, each in fields.items()}
    items = _items(value)
    if items is not None:
        return [plain(each, unknown, depth) for each in items]
    tolist = getattr(value, "tolist", None)  # of numpy and pandas
    if callable(tolist) and not isinstance(value, type):
        return plain(tolist(), unknown, depth)
    unknown(value)
    return _valid(text_of(value))


def _valid(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _bytes_text(value: Any) -> str:
    raw = bytes(value)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode()


_SCALARS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, _valid),
    (int, int),
    (float, float),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    ((Decimal, UUID, PurePath), lambda value: _valid(str(value))),
    ((bytes, bytearray, memoryview), _bytes_text),
)
"""Types that are written as one value, and how."""


def _fields(value: object) -> Mapping[Any, object] | None:
    """Return the fields of a value that is written as an object, or None for other values."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, BaseModel):
        try:
            return value.model_dump(mode="json")
        except ValueError:  # a field of any type
            return value.model_dump()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        named: Mapping[Any, object] = value._asdict()
        return named
    names = _field_names(value)
    return None if names is None else {name: getattr(value, name) for name in names}


def _field_names(value: object) -> list[str] | None:
    """Return the names of the fields of a dataclass or a class of attrs, or None."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return [each.name for each in dataclasses.fields(value)]
    attributes = getattr(value, "__attrs_attrs__", None)
    return None if attributes is None else [each.name for each in attributes]


def _items(value: object) -> Collection[object] | None:
    """Return the items of a value that is written as a list, or None for other values."""
    if isinstance(value, AbstractSet):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    return value if isinstance(value, Collection) and not hasattr(value, "tolist") else None


def _name(name: object) -> str:
    """Return the key of an object as a text, with the spelling of JSON for its own values."""
    if isinstance(name, Enum):
        name = name.value
    if isinstance(name, str):
        return _valid(name)
    if name is None or isinstance(name, bool):
        return "null" if name is None else str(name).lower()
    return _valid(str(name.isoformat() if isinstance(name, date | time) else text_of(name)))
