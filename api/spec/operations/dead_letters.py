"""The operations on dead letters, and the list of operators' actions.

Used by `api.spec.operations.all_operations`.
"""

from __future__ import annotations

from api.operators.actions.endpoint import MAX_ITEMS
from api.operators.letters.endpoints import MAX_ACTIONS, MAX_ENTRIES, MAX_LETTERS
from api.operators.letters.parameters import MAX_DETAIL, MAX_TIME
from api.spec.models import dead_letters as models
from api.spec.operations.operation import Json, Operation, parameter
from api.spec.operations.operator_operation import (
    CURSOR,
    ONLY_TENANT,
    TENANT_SCHEMA,
    act,
    limit,
    read,
    text,
)

_LETTER = (
    parameter("tenant", "path", "The dead letter's tenant.", TENANT_SCHEMA),
    parameter(
        "letter",
        "path",
        "The dead letter's id.",
        {"type": "string", "pattern": "^[0-9]{1,19}-[0-9]{1,19}$"},
    ),
)
_LETTER_PATH = "/dead/{tenant}/{letter}"
_TIME = {"type": "integer", "minimum": 0, "maximum": MAX_TIME}
_UNTIL_TEXT = (
    "Only letters that were first rejected at this time or before, in milliseconds since 1970."
)
_ENTRY = parameter(
    "entry",
    "query",
    "A tenant, a slash, and the new entry id; once for each entry.",
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_ENTRIES,
        "items": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}/[0-9]{1,15}-[0-9]{1,15}$"},
    },
    required=True,
    style="form",
    explode=True,
)
_DETAIL = (
    "Only letters with this detail. Numbers in it are ignored: `line 1 column 7` is the same as "
    "`line 2 column 30`."
)
_BULK = (
    " Each request handles at most 100 letters; repeat it with `next_cursor` until that is null. "
    "A letter that is requeued and rejected again is a new one, to which `until` does not apply. "
    "A repeated request does nothing twice, because a handled letter is gone."
)


def dead_letter_operations() -> list[Operation]:
    """Return all operations on dead letters, and those of the lists of actions."""
    return [*_lists(), *_single(), *_actions(), *_action_lists()]


def _filters() -> list[Json]:
    return [
        ONLY_TENANT,
        text("reason", "Only letters that a group rejected for this reason."),
        text("detail", _DETAIL, MAX_DETAIL),
        text("group", "Only letters that this group rejected."),
        text("type", "Only letters with an event of this `type`."),
        text("job_type", "Only letters with an event that has this `job_type`."),
        text("kind", "Only letters with an event of this `kind`, also one that is not known."),
    ]


def _until(*, required: bool) -> Json:
    return parameter("until", "query", _UNTIL_TEXT, _TIME, required=required)


def _lists() -> list[Operation]:
    return [
        read(
            "listOpsDeadLetters",
            "/dead/",
            "List dead letters",
            models.DeadLetterList,
            *_filters(),
            _until(required=False),
            limit(MAX_LETTERS),
            CURSOR,
            description="Returns the dead letters of a tenant, newest first. Without `tenant`, "
            "returns those of all tenants that match the filters, by tenant and oldest first; "
            "without any filter, returns the latest ones, on one page.",
        ),
        read(
            "groupOpsDeadLetters",
            "/dead/groups/",
            "Group dead letters",
            models.DeadLetterGroups,
            *_filters(),
            _until(required=False),
            CURSOR,
            description="Counts the dead letters that match by reason, detail and type of the "
            "event. A request examines a limited number; where `next_cursor` is not null, there "
            "are at least as many as it counts.",
        ),
    ]


def _single() -> list[Operation]:
    return [
        read(
            "checkOpsRequeuedEntries",
            "/dead/requeued/",
            "Check requeued entries",
            models.RequeuedEntries,
            _ENTRY,
            description="Returns what became of entries that were appended again.",
        ),
        read(
            "getOpsDeadLetter",
            f"{_LETTER_PATH}/",
            "Retrieve a dead letter",
            models.DeadLetterDetail,
            *_LETTER,
            description="Returns a dead letter with the content of its entry.",
        ),
    ]


def _actions() -> list[Operation]:
    many = (*_filters(), _until(required=True), limit(MAX_ACTIONS), CURSOR)
    return [
        act(
            "requeueDeadLetters",
            "/dead/requeue/",
            "Requeue many dead letters",
            models.BulkStep,
            *many,
            description="Appends the entries of dead letters that match again." + _BULK,
        ),
        act(
            "discardDeadLetters",
            "/dead/discard/",
            "Discard many dead letters",
            models.BulkStep,
            *many,
            description="Deletes dead letters that match permanently." + _BULK,
        ),
        act(
            "requeueDeadLetter",
            f"{_LETTER_PATH}/requeue/",
            "Requeue a dead letter",
            models.Requeued,
            *_LETTER,
            description="Appends the entry to its stream again and deletes the dead letter.",
        ),
        act(
            "discardDeadLetter",
            f"{_LETTER_PATH}/discard/",
            "Discard a dead letter",
            models.Discarded,
            *_LETTER,
            description="Deletes a dead letter permanently. Its entry will never be applied.",
        ),
    ]


_ACTION_FILTERS = (
    ONLY_TENANT,
    text("actor", "Only actions of this caller."),
    text("action", "Only actions of this name, such as `requeue`."),
    text("request_id", "Only the requests of one action."),
    limit(MAX_ITEMS),
    CURSOR,
)


def _action_lists() -> list[Operation]:
    return [
        read(
            "listOpsActions",
            "/actions/",
            "List operators' actions",
            models.OperatorActionList,
            *_ACTION_FILTERS,
            description="Returns what operators have changed, newest first.",
        ),
        read(
            "listOpsActionRequests",
            "/actions/requests/",
            "List operators' actions by request",
            models.OperatorActionRequests,
            *_ACTION_FILTERS,
            description="Returns the same, in which the consecutive steps of an action are one "
            "item, with the sums of their counts.",
        ),
    ]
