"""The facts of dead letters that the console shows. Used by `ops.tasks.dead_letters.view`."""

from __future__ import annotations

import base64
from collections import Counter
from itertools import islice

from api.operators.letters.view import Facts
from consumers.dead_letters.bulk import LetterGroup, Outcome
from consumers.dead_letters.letter import Letter
from consumers.dead_letters.letter_event import event_of
from consumers.dead_letters.requeued import Requeued
from consumers.round_trips import encodable
from ops.tasks.dead_letters.facts import letter_facts, rejection_facts
from streams.keys import TENANT

FIELD_BYTES = 65_536
"""Bytes of a letter's event, or of another field, that are shown; the command line prints all."""
GROUP_TENANTS = 50
"""Tenants of a group that are listed by name, those with the most letters first."""
GROUP_JOBS = 5
"""Jobs of a group that are listed, those with the oldest letters first."""
GROUP_WORDS = 10
"""Job types, and workers, of a group that are listed, those with the most letters first."""


def item_facts(letter: Letter) -> Facts:
    """Return a letter in a list."""
    event = event_of(letter)
    return {
        **letter_facts(letter),
        "type": _text(event.type),
        "kind": _text(event.kind),
        "job_id": _text(event.id),
        "job_type": _text(event.job_type),
        "worker": _text(event.worker),
        "known_job": event.job_of(letter.tenant) is not None,
        "known_tenant": TENANT.match(letter.tenant) is not None,
    }


def detail_facts(letter: Letter) -> Facts:
    """Return a letter with at most `FIELD_BYTES` of each field."""
    event = letter.event
    others = [
        {"name": _bytes(name[:FIELD_BYTES]), "value": _bytes(value[:FIELD_BYTES])}
        for name, value in letter.others
    ]
    return {
        **item_facts(letter),
        "event": None if event is None else _bytes(event[:FIELD_BYTES]),
        "cut": not letter.is_complete or (event is not None and len(event) > FIELD_BYTES),
        "others": others,
        "rejections": [rejection_facts(each) for each in letter.rejections],
    }


def group_facts(group: LetterGroup) -> Facts:
    """Return a group of letters."""
    tenants = group.tenants.most_common(GROUP_TENANTS)
    return {
        "reason": encodable(group.key.reason),
        "detail": encodable(group.detail),
        "type": _text(group.key.type),
        "letters": group.letters,
        "first": group.first,
        "last": group.last,
        "tenant_count": len(group.tenants),
        "tenants": [{"tenant": encodable(name), "letters": count} for name, count in tenants],
        "job_count": len(group.jobs),
        "with_job": group.with_job,
        "jobs": [job._asdict() for job in islice(group.jobs, GROUP_JOBS)],
        **_most_common("job_types", "job_type", group.job_types),
        **_most_common("workers", "worker", group.workers),
        "example": {"tenant": encodable(group.example.tenant), "id": group.example.name},
    }


def _most_common(listed: str, name: str, counts: Counter[str | None]) -> Facts:
    """Return the values with the most letters, and the numbers of values and of their letters."""
    known = Counter({value: number for value, number in counts.items() if value is not None})
    values = known.most_common(GROUP_WORDS)
    return {
        f"{name}_count": len(known),
        f"with_{name}": known.total(),
        listed: [{name: encodable(value), "letters": number} for value, number in values],
    }


def outcome_facts(outcome: Outcome) -> Facts:
    """Return what happened to a letter."""
    return {
        "tenant": encodable(outcome.letter.tenant),
        "id": encodable(outcome.letter.name),
        "outcome": outcome.outcome,
        "entry_id": None if outcome.entry_id is None else str(outcome.entry_id),
        "detail": outcome.detail,
    }


def requeued_facts(found: Requeued) -> Facts:
    """Return what became of an entry that was appended again."""
    letter = found.letter
    return {
        "state": found.state,
        "reason": None if letter is None else encodable(letter.reason),
        "detail": None if letter is None else encodable(letter.detail),
    }


def _text(word: str | None) -> str | None:
    return None if word is None else encodable(word)


def _bytes(raw: bytes) -> Facts:
    """Return bytes as text if they are UTF-8, or in base64."""
    try:
        return {"text": raw.decode()}
    except UnicodeDecodeError as error:
        # The last character may have been cut in the middle.
        if error.start >= len(raw) - 3 and len(raw) == FIELD_BYTES:
            return {"text": raw[: error.start].decode()}
        return {"base64": base64.b64encode(raw).decode()}
