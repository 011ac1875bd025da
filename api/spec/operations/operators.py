"""The operations of operators. Used by `api.spec.operations.all_operations`."""

from __future__ import annotations

from pydantic import BaseModel

from api.operators.jobs import MAX_HISTORY, MAX_JOBS
from api.spec.models import operator_jobs as job_models
from api.spec.models import operators as models
from api.spec.operations.operation import Json, Operation, parameter
from api.spec.operations.operator_operation import (
    CURSOR,
    ONLY_TENANT,
    TENANT_SCHEMA,
    choice,
    limit,
    read,
    text,
)
from projections.reading.all_tenants.job_details import MAX_DECIDING
from streams.keys import JOB_ID_PATTERN
from streams.kinds import KINDS, State

_JOB = (
    parameter("tenant", "path", "The job's tenant.", TENANT_SCHEMA),
    parameter("kind", "path", "The job's kind.", {"type": "string", "enum": list(KINDS)}),
    parameter("job_id", "path", "The job's id.", {"type": "string", "pattern": JOB_ID_PATTERN}),
)
_DESCRIPTIONS = {
    "getOpsSession": (
        "Returns 200 if the caller has the scope `ops` or `ops:read`, and whether they may act."
    ),
    "getOpsOverview": (
        "Returns the samples of the last hour, the consumers, the number of stalled jobs and the "
        "state of the servers. The part of an unavailable server is null."
    ),
    "listOpsJobs": "Returns the jobs that match all filters, newest first.",
    "groupOpsFailedJobs": (
        "Returns the failed jobs that match all filters, grouped by the code and the text of their "
        "errors. The newest 5,000 failed jobs are examined: of all tenants, or of `tenant`. With "
        "`id`, the first 1,000 jobs whose id begins so are examined."
    ),
    "listOpsStalledJobs": (
        "Returns the jobs that are processing and have had no event for a long time, those without "
        "events for the longest time first. The 5,000 jobs that have been running the longest are "
        "examined."
    ),
    "getOpsJob": (
        "Returns the stored row of a job, its state in Redis, its timeline, and which event "
        "determines its state and why."
    ),
    "getOpsJobHistory": "Returns the events of a job, in the order of the stream.",
    "getOpsJobResult": "Returns the result of a job, of any size.",
    "getOpsJobPast": (
        "Returns the state of a job after its first events, as clients saw it: the fold of these "
        "events, and the body of the progress answer."
    ),
    "listOpsSuggestions": (
        "Returns jobs whose ids begin with a text, or those beside it in the order of ids, and "
        "tenants whose names contain the text or are similar."
    ),
}
"""The descriptions of all operations, by name."""

_JOB_PATH = "/jobs/{tenant}/{kind}/{job_id}/"


def operator_operations() -> list[Operation]:
    """Return all operations of operators."""
    return [*_overall(), *_job_lists(), *_one_job()]


def _overall() -> list[Operation]:
    return [
        _read(
            "getOpsSession", "/session/", "Check the caller's permission", models.OperatorSession
        ),
        _read("getOpsOverview", "/overview/", "Retrieve the overview", models.Overview),
    ]


def _job_lists() -> list[Operation]:
    return [
        _read(
            "listOpsJobs",
            "/jobs/",
            "List jobs of all tenants",
            job_models.OperatorJobList,
            *_filters(),
            limit(MAX_JOBS),
            CURSOR,
        ),
        _read(
            "groupOpsFailedJobs",
            "/failures/",
            "Group failed jobs",
            job_models.FailureGroups,
            *(each for each in _filters() if each["name"] != "state"),
        ),
        _read(
            "listOpsStalledJobs",
            "/stalled/",
            "List stalled jobs",
            job_models.StalledJobList,
            limit(MAX_JOBS),
            CURSOR,
        ),
        _read(
            "listOpsSuggestions",
            "/suggestions/",
            "Suggest jobs and tenants",
            job_models.Suggestions,
            _part("text", "A part of a tenant's name, or the beginning of an id."),
        ),
    ]


def _filters() -> list[Json]:
    return [
        ONLY_TENANT,
        choice("kind", "Only return jobs of this kind.", ["", *KINDS]),
        choice("state", "Only return jobs in this state.", ["", *State]),
        text("job_type", "Only return jobs with this `job_type`."),
        parameter(
            "id",
            "query",
            "Only return jobs whose id begins with this text, in the order of their ids.",
            {"type": "string", "pattern": "^([A-Za-z0-9][A-Za-z0-9._:-]{0,127})?$"},
        ),
        _part("part", "Only return jobs whose id contains this text."),
        text("worker", "Only return jobs of this worker."),
        text("code", "Only return jobs that failed with this code."),
        _moment("since", "Only return jobs that were created at this time or later."),
        _moment("until", "Only return jobs that were created before this time."),
    ]


def _part(name: str, description: str) -> Json:
    schema = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{0,128}$"}
    return parameter(name, "query", description, schema)


def _moment(name: str, description: str) -> Json:
    return parameter(name, "query", description, {"type": "string", "format": "date-time"})


def _one_job() -> list[Operation]:
    return [
        _read("getOpsJob", _JOB_PATH, "Retrieve a job", job_models.OperatorJob, *_JOB),
        _read(
            "getOpsJobHistory",
            f"{_JOB_PATH}history/",
            "List a job's events",
            job_models.OperatorHistory,
            *_JOB,
            limit(MAX_HISTORY),
            CURSOR,
        ),
        _read(
            "getOpsJobResult",
            f"{_JOB_PATH}result/",
            "Retrieve a job's result",
            job_models.OperatorResult,
            *_JOB,
        ),
        _read(
            "getOpsJobPast",
            f"{_JOB_PATH}past/",
            "Retrieve a job's state after its first events",
            job_models.OperatorPastState,
            *_JOB,
            parameter(
                "events",
                "query",
                f"The number of events, at most {MAX_DECIDING}.",
                {"type": "integer", "minimum": 1, "maximum": 999_999},
            ),
        ),
    ]


def _read(
    name: str, path: str, summary: str, answer: type[BaseModel], *parameters: Json
) -> Operation:
    return read(name, path, summary, answer, *parameters, description=_DESCRIPTIONS[name])
