"""The operations on progress and live streams. Used by `api.spec.operations.all_operations`."""

from __future__ import annotations

import orjson

from api.access.limits import BodyTooLarge, BodyTooSlow, NotJson
from api.http.problems import BadRequest, NoSuchJob, TryLater
from api.live.endpoint import TENANT_PATH
from api.progress.parameters import AFTER_SECONDS, MAX_WAIT_SECONDS
from api.progress.query import MAX_IDS
from api.progress.query import PATH as QUERY_PATH
from api.spec.models.base import model_name
from api.spec.models.progress import EVENTS, PROGRESS, ProgressAnswers, ProgressQuery, TenantEvent
from api.spec.operations.examples import DONE_JOB, PROGRESS_EXAMPLES, READY_VIDEO
from api.spec.operations.operation import (
    EVENT_STREAM,
    Access,
    Json,
    Operation,
    id_parameter,
    parameter,
)
from streams.kinds import KINDS, Kind

WAIT = parameter(
    "wait",
    "query",
    "The number of seconds to wait for a change: the answer is held while the state matches "
    "`If-None-Match`, or while the job does not exist.",
    {"type": "number", "minimum": 0, "maximum": round(MAX_WAIT_SECONDS)},
)
AFTER = parameter(
    "after",
    "query",
    "The id of an entry that you appended, such as `1700000000000-0`. The answer is held until it "
    "reflects that entry: the entry was applied, or is known to change nothing, for example "
    "because it belongs to an older attempt or became a dead letter. It is held for `wait` seconds "
    f"at most, or {AFTER_SECONDS:g} without `wait`; with `wait=0` it is returned at once. "
    "`Jobtrail-After` tells whether it reflects the entry. With `wait` and `If-None-Match`, the "
    "answer is held until the state differs, too.",
    {"type": "string", "pattern": "^[0-9]{1,19}-[0-9]{1,19}$"},
)
IF_NONE_MATCH = parameter(
    "If-None-Match",
    "header",
    "The `ETag` of a previous answer. If the state has not changed since, the status is 304.",
    {"type": "string"},
)
LAST_EVENT_ID = parameter(
    "Last-Event-ID",
    "header",
    "The `id` of the last event that you received. Browsers send it when they reconnect.",
    {"type": "string"},
)

_POLLING = (
    "Returns the current progress of a {kind}. It does not depend on PostgreSQL. Poll again after "
    "the number of seconds in `Retry-After`; an answer without `Retry-After` is final. Returns 404 "
    "if the {kind} does not exist, has expired, or belongs to another tenant. With `wait`, the 404 "
    "is returned after that time, unless the {kind} is created in the meantime."
)
_STREAMING = (
    "Returns a stream of Server-Sent Events. {begin} Each following event contains a new state. "
    "The `event` field is `state`; `data` is {data}. "
    "{end}A comment is sent at least every 15 seconds. When you reconnect with `Last-Event-ID`, no "
    "final state is missed and no event is repeated. Because `EventSource` cannot send headers, "
    "you can pass the credentials in the query."
)


def progress_operations() -> list[Operation]:
    """Return the operations of all kinds, in the order of the document."""
    kinds = KINDS.values()
    return [
        *(_progress(kind) for kind in kinds),
        _query(),
        *(_stream(kind) for kind in kinds),
        _tenant_stream(),
    ]


def _progress(kind: Kind) -> Operation:
    return Operation(
        f"get{model_name(kind)}Progress",
        "get",
        f"{kind.url}/{{id}}/progress/",
        "progress",
        f"Retrieve the progress of a {kind.name}",
        PROGRESS[kind.name],
        description=_POLLING.format(kind=kind.name),
        parameters=(id_parameter(kind), WAIT, AFTER, IF_NONE_MATCH),
        problems=(BadRequest, NoSuchJob, TryLater),
        examples=PROGRESS_EXAMPLES.get(kind.name, {}),
        headers=("ETag", "Retry-After", "Jobtrail-After"),
    )


def _query() -> Operation:
    answer = {
        **{kind.plural: {} for kind in KINDS.values()},
        "jobs": {"report-1": DONE_JOB, "report-9": None},
        "videos": {"7": READY_VIDEO},
    }
    return Operation(
        "queryProgress",
        "post",
        QUERY_PATH,
        "progress",
        "Retrieve the progress of many jobs",
        ProgressAnswers,
        description=(
            f"Returns the current progress of up to {MAX_IDS} jobs, by kind and id. The value is "
            "null for a job that does not exist, has expired, or belongs to another tenant. It "
            "does not depend on PostgreSQL."
        ),
        body=ProgressQuery,
        problems=(BadRequest, NotJson, BodyTooLarge, BodyTooSlow, TryLater),
        examples={"some": answer},
        body_example={"jobs": ["report-1", "report-9"], "videos": ["7"]},
    )


def _stream(kind: Kind) -> Operation:
    return Operation(
        f"watch{model_name(kind)}Progress",
        "get",
        f"{kind.url}/{{id}}/progress/events",
        "progress",
        f"Watch a {kind.name}",
        EVENTS[kind.name],
        media=EVENT_STREAM,
        access=Access.VIEWER,
        description=_STREAMING.format(
            begin="The first event contains the current state.",
            data="the answer of the progress endpoint, and `id` is its `ETag` without quotes",
            end=(
                f"The stream ends after the final state of the {kind.name}. If you have received "
                "the final state already, the status is 204. "
            ),
        ),
        parameters=(id_parameter(kind), LAST_EVENT_ID),
        problems=(BadRequest, NoSuchJob, TryLater),
        examples=_events(PROGRESS_EXAMPLES.get(kind.name, {})),
        may_be_empty=True,
    )


def _tenant_stream() -> Operation:
    return Operation(
        "watchTenant",
        "get",
        TENANT_PATH,
        "progress",
        "Watch all jobs of the tenant",
        TenantEvent,
        media=EVENT_STREAM,
        access=Access.VIEWER,
        description=_STREAMING.format(
            begin="The first events contain the current states of the jobs that changed last.",
            data="the answer of the progress endpoint, with the job's `kind`",
            end="",
        ),
        parameters=(LAST_EVENT_ID,),
        problems=(BadRequest, TryLater),
        examples=_events({"done": {"kind": "job", **DONE_JOB}}),
    )


def _events(states: Json) -> Json:
    """Return examples of streams of one event with these states, under the same names."""
    return {
        name: f"id: {number}\nevent: state\ndata: {orjson.dumps(state).decode()}\n\n"
        for number, (name, state) in enumerate(states.items(), 1)
    }
