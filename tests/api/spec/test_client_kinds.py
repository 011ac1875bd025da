"""The kinds in client.js and client.d.ts are those of the table, the built-in ones included."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import api.spec.client_kinds
from api.spec.client_kinds import script_with_kinds, type_of, types_with_kinds
from streams.kinds import BUILT_IN, Kind

FOLDER = Path(api.spec.client_kinds.__file__).with_name("client")
EXACT = {"hls_path": "string | null", "duration": "number | null"}
"""Types that the file knows more exactly than the table does."""


def fields(source: str, name: str) -> Sequence[tuple[str, str]]:
    """Return the fields of an interface and their types."""
    found = re.search(rf"export interface {name} \{{\n(.*?)\n\}}", source, re.DOTALL)
    assert found is not None
    return re.findall(r"^  (\w+)\??: (.*);$", found[1], re.MULTILINE)


def test_the_files_have_the_built_in_kinds() -> None:
    script, types = ((FOLDER / name).read_text("utf-8") for name in ("client.js", "client.d.ts"))
    assert script_with_kinds(script, BUILT_IN) == script
    assert types_with_kinds(types, BUILT_IN) == types


@pytest.mark.parametrize("kind", BUILT_IN.values(), ids=list(BUILT_IN))
def test_types_of_built_in_kinds_have_the_fields_of_the_table(kind: Kind) -> None:
    name = f"{kind.name.title()}State"
    made = {name: EXACT.get(name, text) for name, text in fields(type_of(kind), name)}
    source = (FOLDER / "client.d.ts").read_text("utf-8")
    assert {name: made_type(text) for name, text in fields(source, name)} == {
        name: made_type(text) for name, text in made.items()
    }


def made_type(text: str) -> frozenset[str]:
    """Return the members of a union, whose order means nothing."""
    return frozenset(text.split(" | "))
