"""The facts of dead letters that the command line and the console show."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from consumers.dead_letters.letter import Letter, Rejection
from consumers.round_trips import encodable


def letter_facts(letter: Letter) -> dict[str, Any]:
    """Return what identifies a letter and why it was buried; `buried_at` is a datetime in UTC."""
    return {
        "tenant": encodable(letter.tenant),
        "id": encodable(letter.name),
        "entry_id": encodable(letter.entry_id),
        "group": encodable(letter.group),
        "groups": [encodable(name) for name in letter.groups],
        "reason": encodable(letter.reason),
        "detail": encodable(letter.detail),
        "deliveries": letter.deliveries,
        "buried_at": letter.rejected_at.astimezone(UTC),
        "bytes": letter.size,
        "sha256": letter.sha256,
    }


def burial_facts(burial: Rejection) -> dict[str, Any]:
    """Return why one group could not apply the letter's entry."""
    return {
        "group": encodable(burial.group),
        "reason": encodable(burial.reason),
        "detail": encodable(burial.detail),
        "deliveries": burial.deliveries,
    }
