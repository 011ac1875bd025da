"""Figures that consumers keep for each other and for operators in Redis, as they are read back.

Other programs can write these keys too. A value of another form is left out: no consumer and no
page of the console fails because of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Kept(BaseModel):
    """A JSON object with exactly these types; fields of newer versions are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class Beat(Kept):
    """A heartbeat: one consumer's description of itself; times are milliseconds since 1970."""

    group: str
    name: str
    host: str
    pid: int
    since: int
    beat: int
    applied: int


class GroupSample(Kept):
    """One group's figures in a sample."""

    waiting: int
    pending: int
    oldest_ms: int | None
    applied: int


class Sample(Kept):
    """The figures of all groups at one moment."""

    at: int
    groups: dict[str, GroupSample]


class Behind(Kept):
    """The tenants that were furthest behind at the last sample, the furthest first."""

    at: int
    tenants: list[str]


_Form = TypeVar("_Form", bound=Kept)


def read_back(form: type[_Form], texts: Iterable[bytes]) -> Iterator[_Form]:
    """Yield the values that have the form."""
    for text in texts:
        try:
            yield form.model_validate_json(text)
        except ValidationError:
            continue


def count_of(text: bytes) -> int:
    """Return a count, or 0 for anything else."""
    return int(text) if text.isdigit() and len(text) < 20 else 0
