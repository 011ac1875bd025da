"""Kinds of jobs that installed packages add through the entry point group `jobtrail.kinds`.

An entry point's object is a mapping of the fields of `Kind`, or a `Kind`. A mapping serves the
worker's package, which is imported as `jobtrail`, and the service, which imports the same modules
as `streams`, without importing either. Used by `streams/kinds.py`, once per process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .kinds import InvalidKind, Kind, State
from .runtime.safe_text import one_line

GROUP = "jobtrail.kinds"

RESERVED_URLS = (
    "/api/v1/events",
    "/api/v1/ops",
    "/api/v1/progress",
    "/client.d.ts",
    "/client.js",
    "/console",
    "/docs",
    "/element.d.ts",
    "/element.js",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/readyz",
)
"""Paths of the API that do not belong to a kind."""

FIXED_FIELDS = tuple(
    "attempt code created_at ended_at fold job_type kind labels progress result result_bytes"
    " result_omitted started_at status updated_at worker".split()
)
"""Fields of documents, rows and answers that all kinds have."""

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_WORD = re.compile(r"[A-Z][A-Z0-9_]{0,31}\Z")
_URL = re.compile(r"(/[A-Za-z0-9_-]+)+\Z")


def installed_kinds(built_in: Mapping[str, Kind]) -> Mapping[str, Kind]:
    """Return the built-in kinds and those of installed packages, by name.

    Raises:
        InvalidKind: an entry cannot be loaded, is not valid, or collides with another kind.
    """
    kinds = dict(built_in)
    for entry in sorted(entry_points(group=GROUP), key=_described):
        try:
            kind = _kind_of(entry.load())
            check_kind(kind, kinds)
        except Exception as error:  # the code of another package may raise anything
            problem = f"{_described(entry)}: {one_line(error)}"
            raise InvalidKind(f"{problem}: correct or uninstall it") from error
        kinds[kind.name] = kind
    return MappingProxyType(kinds)


def check_kind(kind: Kind, others: Mapping[str, Kind]) -> None:
    """Check the form of an entry, and that it shares no name or URL with other kinds.

    Raises:
        ValueError: the entry has another form, or collides with one of `others`.
    """
    for problem in (*_form_problems(kind), *_collisions(kind, others)):
        raise ValueError(problem)


def _kind_of(value: object) -> Kind:
    """Return the kind that an entry point's object describes."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if not isinstance(value, Mapping):
        raise TypeError(f"must be a mapping of the fields of a kind, not {type(value).__name__}")
    unknown = sorted(map(str, value.keys() - {each.name for each in fields(Kind)}))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]}")
    try:
        return TypeAdapter(Kind).validate_python(dict(value))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{where}: {problem['msg']}" if where else problem["msg"]) from None


def _form_problems(kind: Kind) -> Iterator[str]:
    names: Any = {name: getattr(kind, name) for name in ("name", "plural", "id_field")}
    names |= {"error_field": kind.error_field, "progress_prefix": kind.progress_prefix or "a"}
    names |= {f"result_fields.{at}": name for at, name in enumerate(kind.result_fields or ())}
    yield from (
        f"{field}: {text!r} must be a word of a-z, 0-9 and _"
        for field, text in names.items()
        if not _FIELD.match(text)
    )
    own = [*{"id", kind.id_field}, kind.error_field, *(kind.result_fields or ())]
    for name, uses in Counter([*FIXED_FIELDS, *own]).items():
        if uses > 1:
            yield f"the field {name} would have two meanings in answers"
    if not _URL.match(kind.url):
        yield f"url: {kind.url!r} must be a path such as /transcripts"
    if set(kind.words) != set(State) or len(set(kind.words.values())) != len(State):
        yield f"words: must have one word for each state: {', '.join(State)}"
    yield from (
        f"words: {word!r} must be a word of A-Z, 0-9 and _"
        for word in kind.words.values()
        if not _WORD.match(word)
    )
    if not all(0 <= share <= 100 for share in kind.step_shares.values()):
        yield "step_shares: must be percents from 0 to 100"


def _collisions(kind: Kind, others: Mapping[str, Kind]) -> Iterator[str]:
    if kind.name in others:
        yield f"name: there is a kind {kind.name} already"
    taken = [*RESERVED_URLS, *(other.url for other in others.values())]
    yield from (
        f"url: {kind.url} and {url} overlap"
        for url in taken
        if f"{kind.url}/".startswith(f"{url}/") or f"{url}/".startswith(f"{kind.url}/")
    )
    for other in others.values():
        if kind.plural == other.plural:
            yield f"plural: {kind.plural} belongs to the kind {other.name}"
        # Clients rank states by their words only, whatever the kind.
        for state, word in other.words.items():
            if any(own.rank != state.rank for own in kind.words if kind.words[own] == word):
                yield f"words: {word} means {state} in the kind {other.name}"


def _described(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "an unknown package"
    return f"the kind {entry.name} of {package} ({entry.value})"
