"""The operations of operators. Used by `api.spec.operations.all_operations`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from api.access.limits import BodyTooLarge, BodyTooSlow
from api.http.problems import BadRequest, NoSuchPage, Problem, TryLater
from api.operators.gate import ACTION_HEADER
from api.operators.jobs import MAX_HISTORY, MAX_JOBS
from api.operators.parameters import MAX_CURSOR, MAX_TEXT
from api.operators.routes import MAX_LETTERS, MAX_TENANTS, URL
from api.spec.models import operator_jobs as job_models
from api.spec.models import operators as models
from api.spec.operations.operation import Access, Json, Operation, parameter
from streams.keys import JOB_ID_PATTERN
from streams.kinds import KINDS, State

_TENANT_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_ENTRY_ID = {"type": "string", "pattern": "^[0-9]{1,19}-[0-9]{1,19}$"}
_JOB = (
    parameter("tenant", "path", "The job's tenant.", _TENANT_SCHEMA),
    parameter("kind", "path", "The job's kind.", {"type": "string", "enum": list(KINDS)}),
    parameter("job_id", "path", "The job's id.", {"type": "string", "pattern": JOB_ID_PATTERN}),
)
_LETTER = (
    parameter("tenant", "path", "The dead letter's tenant.", _TENANT_SCHEMA),
    parameter("letter", "path", "The dead letter's id.", _ENTRY_ID),
)
_ONLY_TENANT = parameter(
    "tenant",
    "query",
    "Only return items of this tenant.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{0,64}$"},
)
_CURSOR = parameter(
    "cursor",
    "query",
    "The `next_cursor` of the previous page, requested with the same filters.",
    {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{0,{MAX_CURSOR}}}$"},
)
_MAX_LIMIT = 999_999
"""The greatest limit that is accepted."""

_CONSOLE = parameter(
    ACTION_HEADER,
    "header",
    "Any value. The header protects against requests from pages of other origins.",
    {"type": "string"},
    "1",
    required=True,
)
_DESCRIPTIONS = {
    "getOpsSession": "Returns 200 if the caller has the scope `ops`.",
    "getOpsOverview": (
        "Returns the samples of the last hour, the consumers, the number of stalled jobs and the "
        "state of the servers. The part of an unavailable server is null."
    ),
    "listOpsTenants": "Returns the tenants with the most activity, or with the most lag.",
    "listOpsDeadLetters": (
        "Returns the dead letters of a tenant, newest first. Without `tenant`, returns the latest "
        "ones of all tenants, on one page."
    ),
    "getOpsDeadLetter": "Returns a dead letter with the content of its entry.",
    "requeueDeadLetter": "Appends the entry to its stream again and deletes the dead letter.",
    "discardDeadLetter": "Deletes a dead letter permanently. Its entry will never be applied.",
    "listOpsJobs": "Returns the jobs that match all filters, newest first.",
    "listOpsStalledJobs": (
        "Returns the jobs that are processing and have had no event for a long time, those without "
        "events for the longest time first."
    ),
    "getOpsJob": (
        "Returns the stored row of a job, its state in Redis, its timeline, and which event "
        "determines its state and why."
    ),
    "getOpsJobHistory": "Returns the events of a job, in the order of the stream.",
    "getOpsJobResult": "Returns the result of a job, of any size.",
}
"""The descriptions of all operations, by name."""

_JOB_PATH = "/jobs/{tenant}/{kind}/{job_id}/"


def operator_operations() -> list[Operation]:
    """Return all operations of operators."""
    return [*_overall(), *_dead_letters(), *_job_lists(), *_one_job()]


def _overall() -> list[Operation]:
    order = _choice("order", "The order of the tenants.", ["activity", "lag"])
    return [
        _read(
            "getOpsSession", "/session/", "Check the caller's permission", models.OperatorSession
        ),
        _read("getOpsOverview", "/overview/", "Retrieve the overview", models.Overview),
        _read(
            "listOpsTenants",
            "/tenants/",
            "List tenants by activity or lag",
            models.TenantActivityList,
            order,
            _limit(MAX_TENANTS),
        ),
    ]


def _dead_letters() -> list[Operation]:
    letter = "/dead/{tenant}/{letter}"
    return [
        _read(
            "listOpsDeadLetters",
            "/dead/",
            "List dead letters",
            models.DeadLetterList,
            _ONLY_TENANT,
            _limit(MAX_LETTERS),
            _CURSOR,
        ),
        _read(
            "getOpsDeadLetter",
            f"{letter}/",
            "Retrieve a dead letter",
            models.DeadLetterDetail,
            *_LETTER,
        ),
        _act("requeueDeadLetter", f"{letter}/requeue/", "Requeue a dead letter", models.Requeued),
        _act("discardDeadLetter", f"{letter}/discard/", "Discard a dead letter", models.Discarded),
    ]


def _job_lists() -> list[Operation]:
    return [
        _read(
            "listOpsJobs",
            "/jobs/",
            "List jobs of all tenants",
            job_models.OperatorJobList,
            *_filters(),
            _limit(MAX_JOBS),
            _CURSOR,
        ),
        _read(
            "listOpsStalledJobs",
            "/stalled/",
            "List stalled jobs",
            job_models.StalledJobList,
            _limit(MAX_JOBS),
            _CURSOR,
        ),
    ]


def _filters() -> list[Json]:
    return [
        _ONLY_TENANT,
        _choice("kind", "Only return jobs of this kind.", ["", *KINDS]),
        _choice("state", "Only return jobs in this state.", ["", *State]),
        parameter(
            "job_type",
            "query",
            "Only return jobs with this `job_type`.",
            {"type": "string", "maxLength": MAX_TEXT, "pattern": r"^[^\x00]*$"},
        ),
        parameter(
            "id",
            "query",
            "Only return jobs whose id begins with this text, in the order of their ids.",
            {"type": "string", "pattern": "^([A-Za-z0-9][A-Za-z0-9._:-]{0,127})?$"},
        ),
    ]


def _one_job() -> list[Operation]:
    return [
        _read("getOpsJob", _JOB_PATH, "Retrieve a job", job_models.OperatorJob, *_JOB),
        _read(
            "getOpsJobHistory",
            f"{_JOB_PATH}history/",
            "List a job's events",
            job_models.OperatorHistory,
            *_JOB,
            _limit(MAX_HISTORY),
            _CURSOR,
        ),
        _read(
            "getOpsJobResult",
            f"{_JOB_PATH}result/",
            "Retrieve a job's result",
            job_models.OperatorResult,
            *_JOB,
        ),
    ]


def _limit(maximum: int) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT}
    return parameter("limit", "query", f"The number of items, at most {maximum}.", schema)


def _choice(name: str, description: str, words: list[str]) -> Json:
    return parameter(name, "query", description, {"type": "string", "enum": words})


def _read(
    name: str, path: str, summary: str, answer: type[BaseModel], *parameters: Json
) -> Operation:
    found = Operation(
        name,
        "get",
        URL + path,
        "operators",
        summary,
        answer,
        access=Access.OPERATOR,
        description=_DESCRIPTIONS[name],
        parameters=parameters,
        headers=("ETag", "X-Jobtrail-Now"),
    )
    return found._replace(problems=(TryLater, *_problems(parameters)))


def _act(name: str, path: str, summary: str, answer: type[BaseModel]) -> Operation:
    parameters = (*_LETTER, _CONSOLE)
    return Operation(
        name,
        "post",
        URL + path,
        "operators",
        summary,
        answer,
        access=Access.OPERATOR,
        description=_DESCRIPTIONS[name],
        parameters=parameters,
        problems=(TryLater, BodyTooLarge, BodyTooSlow, *_problems(parameters)),
    )


def _problems(parameters: Sequence[Json]) -> list[type[Problem]]:
    """Return the errors of these parameters: an unknown path, or a query that is not valid."""
    places = {each["in"] for each in parameters}
    problems = {"path": NoSuchPage, "query": BadRequest}
    return [problems[place] for place in sorted(places & problems.keys())]
