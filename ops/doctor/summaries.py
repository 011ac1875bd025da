"""Texts that sum up findings by tenant or key, the first few by name.

Used by `ops.doctor.cluster.checks`, `ops.doctor.dead_letter_checks` and `ops.doctor.stream_checks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumers.round_trips import encodable
from ops.text.plurals import counted

NAMED = 5
"""Tenants or keys that one finding names; the others are counted."""


def by_tenant(unit: str, counts: Mapping[str, int], plural: str | None = None) -> str:
    """Return the sum of the counts with the tenants that have the most."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    names = first_of([f"{tenant} ({count})" for tenant, count in ordered])
    of = "tenant" if len(counts) == 1 else "tenants"
    return f"{counted(sum(counts.values()), unit, plural)} of {of} {names}"


def first_of(texts: Sequence[str], unnamed: int = 0) -> str:
    """Return the first texts and the number of the others, `unnamed` ones included."""
    more = max(0, len(texts) - NAMED) + unnamed
    return ", ".join(texts[:NAMED]) + (f" and {more} more" if more else "")


def printable(name: str) -> str:
    """Return a name that others chose, with the characters that act on a terminal escaped."""
    text = encodable(name)
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
