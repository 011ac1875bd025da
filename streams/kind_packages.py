"""Kinds of jobs that installed packages add through the entry point group `jobtrail.kinds`.

An entry point's object is a mapping of the fields of `Kind`, or a `Kind`. With a mapping, a package
needs no import of jobtrail, whose modules are imported as `jobtrail` by workers and as `streams` by
the service, each with a class `Kind` of its own. The module of the object must import nothing of
jobtrail but `jobtrail.kinds`: other modules read the kinds while they are imported. Used by
`streams/kinds.py`, once per process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from types import MappingProxyType

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
"""Names of fields that documents, rows or answers of every kind contain."""

RESERVED_PLURALS = ("aud", "exp", "iat", "iss", "jti", "nbf", "scope", "sub", "tenant_id")
"""Claims of tokens that have another meaning than a list of jobs' ids."""

PREFIXED_FIELDS = tuple(
    "progress remaining_seconds step_index step_total step_name step_percent".split()
)
"""Fields of the progress in answers of a kind with a `progress_prefix`, without the prefix."""

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_WORD = re.compile(r"[A-Z][A-Z0-9_]{0,31}\Z")
_URL = re.compile(r"(/[A-Za-z0-9_-]+)+\Z")


def installed_kinds(built_in: Mapping[str, Kind]) -> Mapping[str, Kind]:
    """Return the built-in kinds and those of installed packages, by name.

    Raises:
        InvalidKind: an entry cannot be loaded, is not valid, or collides with another kind.
    """
    kinds = dict(built_in)
    for entry in sorted(entry_points(group=GROUP), key=_description):
        try:
            kind = _kind_of(entry.load())
            check_kind(kind, kinds)
        except Exception as error:  # the code of another package may raise anything
            problem = f"{_description(entry)}: {one_line(error)}"
            raise InvalidKind(f"{problem}: correct or uninstall it") from error
        kinds[kind.name] = kind
    return MappingProxyType(kinds)


def check_kind(kind: Kind, others: Mapping[str, Kind]) -> None:
    """Check that a kind is valid, and that it shares no name, plural, URL or word with others.

    Raises:
        ValueError: it is not valid, or collides with one of `others`; the text is one problem.
    """
    problem = next(chain(_form_problems(kind), _collisions(kind, others)), None)
    if problem is not None:
        raise ValueError(problem)


def _kind_of(value: object) -> Kind:
    """Return the kind that an entry point's object describes."""
    # Not isinstance(value, Kind): under the other import name, Kind is another class.
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
    names = {"name": kind.name, "plural": kind.plural, "id_field": kind.id_field}
    names["error_field"] = kind.error_field
    if kind.progress_prefix is not None:
        names["progress_prefix"] = kind.progress_prefix
    names |= {f"result_fields.{at}": name for at, name in enumerate(kind.result_fields or ())}
    yield from (
        f"{field}: {text!r} must be a word of a-z, 0-9 and _"
        for field, text in names.items()
        if not _FIELD.match(text)
    )
    # Every item also has the field "id"; `id_field` may be "id" itself.
    own = [*{"id", kind.id_field}, kind.error_field, *(kind.result_fields or ())]
    if kind.progress_prefix is not None:
        own += [f"{kind.progress_prefix}{name}" for name in PREFIXED_FIELDS]
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
    if kind.plural in RESERVED_PLURALS:
        yield f"plural: {kind.plural} is another claim of tokens"
    taken = [*RESERVED_URLS, *(other.url for other in others.values())]
    yield from (
        f"url: {kind.url} and {url} overlap"
        for url in taken
        if f"{kind.url}/".startswith(f"{url}/") or f"{url}/".startswith(f"{kind.url}/")
    )
    for other in others.values():
        if kind.plural == other.plural:
            yield f"plural: {kind.plural} belongs to the kind {other.name}"
        if kind.legacy_prefix is not None and kind.legacy_prefix == other.legacy_prefix:
            yield f"legacy_prefix: {kind.legacy_prefix} belongs to the kind {other.name}"
        # Clients know the rank of a state only by its word, whatever the kind.
        for state, word in other.words.items():
            if any(own.rank != state.rank for own in kind.words if kind.words[own] == word):
                yield f"words: {word} means {state} in the kind {other.name}"


def _description(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "an unknown package"
    return f"the kind {entry.name} of {package} ({entry.value})"
