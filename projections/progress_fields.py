"""The named fields of progress, derived from the model `streams.events.Progress`.

The decoder takes the types of its fields from here, and the fold the conversion into a progress
document. So a new field of the model needs no change in projections. Used by
`projections.decoding`, `projections.documents` and `projections.fold`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from msgspec import Meta
from pydantic.fields import FieldInfo

from streams.events import EventBase, Progress

_FULL = 100.0
_STRICTEST: Mapping[str, Callable[..., Any]] = {
    "ge": max,
    "le": min,
    "min_length": max,
    "max_length": min,
}
"""Limits that the decoder can check, each with the choice among several."""
_ALIASES = {"step_name_display": ("step_name", "step")}
"""A key of documents and the field that it repeats, by the field that it precedes."""


class ProgressField(NamedTuple):
    """A named field of progress."""

    name: str
    decoded: Any
    """The type of the field in the decoder, with its limits."""
    convert: Callable[[float], float] | None
    """Converts a value for the document; None where it is stored as it is."""


def _percent(value: float) -> float:
    return _without_fraction(value if 0 <= value <= _FULL else 0.0 if value < 0 else _FULL)


def _without_fraction(value: float) -> float:
    """Return a whole number as an integer, which JSON has without a fraction: 10, not 10.0."""
    return int(value) if value.is_integer() else value


def _field(name: str, hint: Any) -> ProgressField:
    """Return the field for an optional type of the model; a number without limits is a percent."""
    (base,) = (each for each in get_args(hint) if each is not type(None))
    limits: dict[str, Any] = {}
    if get_origin(base) is Annotated:
        base, *metadata = get_args(base)
        limits = _limits(name, metadata)
    decoded = Annotated[base, Meta(**limits)] if limits else base
    convert = (_without_fraction if limits else _percent) if base is float else None
    return ProgressField(name, decoded | None, convert)


def _limits(name: str, metadata: Iterable[Any]) -> dict[str, Any]:
    """Return the limits of a field.

    Raises:
        TypeError: the field has a rule that the decoder cannot check.
    """
    limits: dict[str, Any] = {}
    for each in metadata:
        for rule in each.metadata if isinstance(each, FieldInfo) else [each]:
            for limit, value in asdict(rule).items():
                if limit not in _STRICTEST:
                    raise TypeError(f"the decoder cannot check {rule} of the progress field {name}")
                limits[limit] = _STRICTEST[limit](value, limits.get(limit, value))
    return limits


_HINTS = get_type_hints(Progress, include_extras=True)
FIELDS = tuple(
    _field(name, _HINTS[name])
    for name in Progress.model_fields
    if name not in EventBase.model_fields and name not in ("type", "extra")
)
"""The named fields, in the order of documents. The free keys of `extra` are beside them."""

_CONVERSIONS = tuple(
    (key, source, field.convert)
    for field in FIELDS
    for key, source in filter(None, (_ALIASES.get(field.name), (field.name, field.name)))
)
_KEYS = frozenset(key for key, _, _ in _CONVERSIONS)
_EMPTY: Mapping[str, None] = dict.fromkeys(key for key, _, _ in _CONVERSIONS)


def progress_document(event: Any) -> dict[str, Any]:
    """Return the progress document of a decoded event; a key of `extra` never hides a named one."""
    document: dict[str, Any] = {}
    if event.extra:
        document = {name: value for name, value in event.extra.items() if name not in _KEYS}
    for key, source, convert in _CONVERSIONS:
        value = getattr(event, source)
        document[key] = value if value is None or convert is None else convert(value)
    return document


def stored_document(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored progress document, in which fields that are newer than it are None.

    Raises:
        KeyError, TypeError, AttributeError: it was not written by this project.
    """
    _ = fields["step"], fields["percent"]
    return {**fields} if fields.keys() >= _KEYS else {**_EMPTY, **fields}
