"""SQL: migrations, named queries, and sessions of PostgreSQL.

Migrations (`migrations/`) are applied by `migrate`. Statements are in `queries/`, by name; the
packages above load them with `queries` and run them in sessions of `sessions`. This package must
not import any other package of the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import LiteralString

_HEADER = re.compile(r"^-- (name|list): (\w+)$", re.MULTILINE)
_LIST = re.compile(r"\{(\w+)\}")
_NO_LISTS: Mapping[str, str] = MappingProxyType({})


def queries(file: str, lists: Mapping[str, str] = _NO_LISTS) -> dict[str, LiteralString]:
    """Return the statements of `queries/{file}.sql` by name.

    `-- name: NAME` begins a statement. `-- list: NAME` begins a list of columns, which statements
    below it have as `{NAME}`; `lists` are further ones. Other braces stay as they are.
    """
    known, statements = dict(lists), dict[str, LiteralString]()
    for what, name, text in _parts(file):
        # Both the file and the lists come from our own code, which LiteralString states.
        filled = _LIST.sub(lambda found: known.get(found[1], found[0]), text)
        (known if what == "list" else statements)[name] = filled
    return statements


@cache
def _parts(file: str) -> list[tuple[str, str, str]]:
    """Return what each part of a file is, its name and its text."""
    text = files("sql").joinpath("queries", f"{file}.sql").read_text(encoding="utf-8")
    _, *parts = _HEADER.split(text)
    return [
        (what, name, body.strip())
        for what, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]
