"""The facts of dead letters that the command line prints, and what both it and the console show.

Used by `ops.commands.dead` and `ops.tasks.dead_letters.console_facts`.
"""

from __future__ import annotations

import base64
from datetime import UTC
from typing import Any

from consumers.dead_letters.letter import Letter, Rejection
from consumers.round_trips import encodable
from ops.text.plurals import counted
from ops.text.times import local_time


def letter_facts(letter: Letter) -> dict[str, Any]:
    """Return what identifies a letter and why it was rejected; `rejected_at` is a UTC datetime."""
    return {
        "tenant": encodable(letter.tenant),
        "id": encodable(letter.name),
        "entry_id": encodable(letter.entry_id),
        "group": encodable(letter.group),
        "groups": [encodable(name) for name in letter.groups],
        "reason": encodable(letter.reason),
        "detail": encodable(letter.detail),
        "deliveries": letter.deliveries,
        "rejected_at": letter.rejected_at.astimezone(UTC),
        "bytes": letter.size,
        "sha256": letter.sha256,
    }


def rejection_facts(rejection: Rejection) -> dict[str, Any]:
    """Return why one group could not apply the letter's entry."""
    return {
        "group": encodable(rejection.group),
        "reason": encodable(rejection.reason),
        "detail": encodable(rejection.detail),
        "deliveries": rejection.deliveries,
    }


def printed_facts(letter: Letter) -> dict[str, Any]:
    """Return the facts of a letter, with `rejected_at` as RFC 3339 text."""
    facts = letter_facts(letter)
    rejected = facts["rejected_at"].isoformat(timespec="milliseconds")
    return facts | {"rejected_at": rejected.replace("+00:00", "Z")}


def listed_cells(letter: Letter) -> tuple[str, ...]:
    """Return the cells of a letter in a list: times are local, and the detail is the last one."""
    facts = letter_facts(letter)
    detail = f"{counted(facts['deliveries'], 'delivery', 'deliveries')}: {facts['detail']}"
    when = local_time(facts["rejected_at"])
    return facts["tenant"], facts["id"], when, facts["group"], facts["reason"], detail


def content_facts(letter: Letter) -> dict[str, Any]:
    """Return the event and the other fields of a letter, and why each group rejected it.

    Bytes that are not UTF-8 are in base64, under a name that ends in `_base64`.
    """
    event = {} if letter.event is None else _as_json("event", letter.event)
    others = [_as_json("name", name) | _as_json("value", value) for name, value in letter.others]
    rejections = [rejection_facts(each) for each in letter.rejections]
    return event | {"other_fields": others, "rejections": rejections}


def _as_json(name: str, raw: bytes) -> dict[str, str]:
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(raw).decode()}
