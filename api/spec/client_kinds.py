"""Kinds of jobs in client.js (URLs, words and fields) and in client.d.ts (types).

The files in `client/` have the built-in kinds only; `api.spec.client_files` serves them with all
kinds, which it gets from this module. Used by `api.spec.client_files`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from api.spec.models.base import model_name
from streams.kinds import BUILT_IN, Kind, State

_KIND_TYPES = re.compile(r"(export interface StateByKind \{\n)(?:  \w+: \w+;\n)*")


def script_with_kinds(source: str, kinds: Mapping[str, Kind]) -> str:
    """Return client.js with the URLs, the status words and the fields of these kinds."""
    by_rank = sorted(State, key=lambda state: state.rank)
    words = {kind.words[state]: state for state in by_rank for kind in kinds.values()}
    constants: Mapping[str, Mapping[str, object]] = {
        "PATHS": {name: json.dumps(kind.url) for name, kind in kinds.items()},
        "RANKS": {word: state.rank for word, state in words.items()},
        "PHASES": {word: json.dumps(state) for word, state in words.items()},
        "FIELDS": {name: _script_fields(kind) for name, kind in kinds.items()},
    }
    for name, values in constants.items():
        source = _replaced(source, name, values)
    return source


def types_with_kinds(source: str, kinds: Mapping[str, Kind]) -> str:
    """Return client.d.ts with the types of these kinds."""
    members = "".join(f"  {name}: {_type_name(kind)};\n" for name, kind in kinds.items())
    added = [type_of(kind) for name, kind in kinds.items() if name not in BUILT_IN]
    return "\n".join([_KIND_TYPES.sub(rf"\g<1>{members}", source, count=1), *added])


def type_of(kind: Kind) -> str:
    """Return the TypeScript interface of a kind's progress answer."""
    fields = "".join(f"  {line};\n" for line in _fields(kind))
    about = f"/** The progress answer of a {kind.name}: `GET {kind.url}/{{id}}/progress/`. */"
    return f"{about}\nexport interface {_type_name(kind)} {{\n{fields}}}\n"


def _script_fields(kind: Kind) -> str:
    """Return the JavaScript object with the names by which client.js finds a kind's values."""
    fields = {
        "plural": kind.plural,
        "id": kind.id_field,
        "error": kind.error_field,
        "progress": kind.progress_prefix,
    }
    members = ", ".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())
    return f"{{ {members} }}"


def _type_name(kind: Kind) -> str:
    return f"{model_name(kind)}State"


def _fields(kind: Kind) -> Iterator[str]:
    words = " | ".join(f'"{kind.words[state]}"' for state in State)
    yield f"{kind.id_field}: {'number | string' if kind.numeric_id else 'string'}"
    if kind.progress_prefix is None:
        yield "job_type: string | null"
    yield f"status: {words}"
    yield from _progress_fields(kind.progress_prefix)
    yield f"{kind.error_field}?: string | null"
    yield from (f"{name}?: unknown" for name in kind.result_fields or ("result",))
    yield "result_omitted?: boolean"
    yield "result_bytes?: number"
    yield "attempt?: number"
    yield "updated_at?: string"


def _progress_fields(prefix: str | None) -> Iterator[str]:
    if prefix is None:
        yield "progress: JobProgress | null"
        return
    for name in ("progress", "remaining_seconds", "step_index", "step_total"):
        yield f"{prefix}{name}: number | null"
    yield f"{prefix}step_name: string | null"
    yield f"{prefix}step_percent: number | null"


def _replaced(source: str, name: str, values: Mapping[str, object]) -> str:
    """Return the script with another object as the value of one of its constants."""
    members = ", ".join(f"{key}: {value}" for key, value in values.items())
    line = f"const {name} = {{ __proto__: null, {members} }};"
    return re.sub(rf"^const {name} = .*$", lambda _: line, source, count=1, flags=re.MULTILINE)
