"""The operations of operators: all tenants, for the scope `ops`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from api.access.limits import BodyTooLarge, BodyTooSlow
from api.http.problems import BadRequest, NoSuchPage, Problem, TryLater
from api.operators.gate import HEADER
from api.operators.jobs import HISTORY, JOBS, MAX_TEXT
from api.operators.routes import LETTERS, TENANTS, URL
from api.spec import operator_models as of
from api.spec.operation import Json, Operation, Who, parameter
from streams.keys import JOB_ID_PATTERN
from streams.kinds import KINDS, State

_TENANT_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_ENTRY_ID = {"type": "string", "pattern": "^[0-9]{1,19}-[0-9]{1,19}$"}
_JOB = (
    parameter("tenant", "path", "Whose job it is.", _TENANT_SCHEMA),
    parameter("kind", "path", "Its kind.", {"type": "string", "enum": list(KINDS)}),
    parameter("job_id", "path", "Its id.", {"type": "string", "pattern": JOB_ID_PATTERN}),
)
_LETTER = (
    parameter("tenant", "path", "Whose letter it is.", _TENANT_SCHEMA),
    parameter("letter", "path", "Its id.", _ENTRY_ID),
)
_OF_TENANT = parameter(
    "tenant",
    "query",
    "Of this tenant alone; an empty one is none.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{0,64}$"},
)
_CURSOR = parameter(
    "cursor",
    "query",
    "`next_cursor` of the page before; an empty one is none.",
    {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{0,{MAX_TEXT}}}$"},
)
_MOST = 999_999
"""Of a limit: more digits are refused."""
_CONSOLE = parameter(
    HEADER,
    "header",
    "Anything: a page of another origin cannot send it.",
    {"type": "string"},
    "1",
    required=True,
)


def _limit(most: int) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": _MOST}
    return parameter("limit", "query", f"How many; {most} at most are given.", schema)


def _chosen(name: str, description: str, words: list[str]) -> Json:
    return parameter(name, "query", description, {"type": "string", "enum": words})


def ops_operations() -> list[Operation]:
    """Give them all."""
    return [*_overall(), *_dead_letters(), *_jobs()]


def _overall() -> list[Operation]:
    order = _chosen("order", "What comes first.", ["activity", "lag"])
    return [
        _read("getOpsSession", "/session/", "Whether the caller may come in", of.Session),
        _read("getOpsOverview", "/overview/", "All at a glance", of.Overview),
        _read(
            "listOpsTenants",
            "/tenants/",
            "Tenants by activity or lag",
            of.Tenants,
            order,
            _limit(TENANTS),
        ),
    ]


def _dead_letters() -> list[Operation]:
    letter = "/dead/{tenant}/{letter}"
    return [
        _read(
            "listOpsDeadLetters",
            "/dead/",
            "Dead letters, newest first",
            of.Letters,
            _OF_TENANT,
            _limit(LETTERS),
            _CURSOR,
        ),
        _read(
            "getOpsDeadLetter",
            f"{letter}/",
            "A dead letter with its bytes",
            of.WholeLetter,
            *_LETTER,
        ),
        _act("requeueDeadLetter", f"{letter}/requeue/", "Append it again", of.Requeued),
        _act("discardDeadLetter", f"{letter}/discard/", "Delete it for ever", of.Discarded),
    ]


def _jobs() -> list[Operation]:
    job = "/jobs/{tenant}/{kind}/{job_id}/"
    return [
        _read(
            "listOpsJobs",
            "/jobs/",
            "Jobs of all tenants",
            of.OpsJobs,
            _OF_TENANT,
            _chosen("kind", "Of this kind alone; an empty one is none.", ["", *KINDS]),
            _chosen("state", "In this state alone; an empty one is none.", ["", *State]),
            parameter(
                "job_type",
                "query",
                "Of this type alone.",
                {"type": "string", "maxLength": MAX_TEXT, "pattern": r"^[^\x00]*$"},
            ),
            parameter(
                "id",
                "query",
                "What the id begins with.",
                {"type": "string", "pattern": "^([A-Za-z0-9][A-Za-z0-9._:-]{0,127})?$"},
            ),
            _limit(JOBS),
            _CURSOR,
        ),
        _read(
            "listOpsStalledJobs",
            "/stalled/",
            "Silent jobs, the longest first",
            of.StalledJobs,
            _limit(JOBS),
            _CURSOR,
        ),
        _read("getOpsJob", job, "A job, and why it stands so", of.OpsJob, *_JOB),
        _read(
            "getOpsJobHistory",
            f"{job}history/",
            "A job's events",
            of.OpsHistory,
            *_JOB,
            _limit(HISTORY),
            _CURSOR,
        ),
        _read("getOpsJobResult", f"{job}result/", "A job's whole result", of.OpsResult, *_JOB),
    ]


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
        who=Who.OPERATOR,
        parameters=parameters,
        headers=("ETag", "X-Jobtrail-Now"),
    )
    return found._replace(problems=(TryLater, *_refusals(parameters)))


def _act(name: str, path: str, summary: str, answer: type[BaseModel]) -> Operation:
    parameters = (*_LETTER, _CONSOLE)
    return Operation(
        name,
        "post",
        URL + path,
        "operators",
        summary,
        answer,
        who=Who.OPERATOR,
        parameters=parameters,
        problems=(TryLater, BodyTooLarge, BodyTooSlow, *_refusals(parameters)),
    )


def _refusals(parameters: Sequence[Json]) -> list[type[Problem]]:
    """Give what is answered where something is named that is not there, or badly."""
    wheres = {each["in"] for each in parameters}
    problems = {"path": NoSuchPage, "query": BadRequest}
    return [problems[where] for where in sorted(wheres & problems.keys())]
