"""Facts by name, and the differences between those that are served and those of the fold.

Used by `ops.tasks.replay.verification`, `projections.registry`, `projections.replay.comparison`,
`projections.replay.served` and `projections.replay.verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from streams.events import dump_json
from streams.keys import JobKey

Facts = Mapping[str, Any]


class _Nothing:
    """The value of a field, or of a job, that is missing."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


class Difference(NamedTuple):
    """A field whose served value is not the value that the events result in."""

    job: JobKey
    field: str
    served: Any
    folded: Any

    def __str__(self) -> str:
        """Return the difference as a line of text."""
        job = " ".join(self.job)
        return f"{job} {self.field}: served {_text(self.served)}, folded {_text(self.folded)}"


def differences(job: JobKey, served: Facts | None, folded: Facts | None) -> list[Difference]:
    """Return every field that differs, in the order of names.

    None stands for a job that is not served, or has no events; then only `status` differs.
    """
    if served is None or folded is None:
        if served is folded:
            return []
        words = [NOTHING if facts is None else facts.get("status") for facts in (served, folded)]
        return [Difference(job, "status", *words)]
    if served == folded:
        return []
    return [
        Difference(job, name, served.get(name, NOTHING), folded.get(name, NOTHING))
        for name in sorted({*served, *folded})
        if served.get(name, NOTHING) != folded.get(name, NOTHING)
    ]


def prefixed(prefix: str, facts: Facts) -> dict[str, Any]:
    """Return facts with a prefix before each name."""
    return {prefix + name: value for name, value in facts.items()}


def provenance_facts(prefix: str, provenances: Facts) -> dict[str, Any]:
    """Return provenances as facts with a prefix, one for each label."""
    labels = provenances.get("labels")
    facts = prefixed(prefix, provenances)
    if not isinstance(labels, dict):
        return facts
    del facts[f"{prefix}labels"]
    return facts | prefixed(f"{prefix}labels.", labels)


def _text(value: Any) -> str:
    if value is NOTHING:
        return "nothing"
    if isinstance(value, str):
        return value
    return dump_json(value).decode()
