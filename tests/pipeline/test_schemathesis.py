"""The API against its own OpenAPI document: every operation, every check, on real processes."""

from __future__ import annotations

from typing import Any

import httpx
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from api.progress.query import MAX_IDS
from tests.pipeline.conftest import Start
from tests.support.deployment import ENDED, GOING_ON, TENANT, Deployment, deploy, token
from tests.support.thorough import THOROUGH

SEED = 20_261_123
"""One and the same in each run, so that a run that fails can be run again; change it to look on."""


def test_every_operation_and_check(start: Start, redis_url: str, database_url: str) -> None:
    """Valid requests are accepted, invalid ones refused, and every answer is as the document says.

    A few of the ids that it asks for are real ones. Guessing is not limited, since it is what the
    check of ignored credentials does.
    """
    deployed = deploy(start, redis_url, database_url, bad_token_rate_limit="0")
    problems = _run(deployed, _document(deployed))
    assert not problems, "\n\n".join(problems)


def _document(deployed: Deployment) -> dict[str, Any]:
    """Give the API's document, with ids that exist as examples."""
    document: dict[str, Any] = httpx.get(deployed.url + "/openapi.json").json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if examples := _examples(deployed, path, parameter):
                    parameter.pop("example", None)
                    parameter["examples"] = examples
            for content in operation["responses"]["200"].get("content", {}).values():
                if "x-itemSchema" in content:
                    content["itemSchema"] = content.pop("x-itemSchema")
    for schema in document["components"]["schemas"].values():
        _closed(schema)
    for listed in document["components"]["schemas"]["ProgressQuery"]["properties"].values():
        for each in listed["items"]["anyOf"]:
            each.pop("format", None)  # Ids of more than 64 bits are accepted, too.
    return document


def _examples(deployed: Deployment, path: str, parameter: dict[str, Any]) -> dict[str, Any]:
    kind = "video" if "videos" in path else "job"
    # A stream of a job that goes on would not end.
    ids = ENDED[kind] if path.endswith("events") else [*ENDED[kind], *GOING_ON[kind]]
    known = {"tenant": [TENANT], "kind": ["job"], "letter": [deployed.letter]}
    known |= {"id": ids, "job_id": ids} if parameter["in"] == "path" else {}
    values = known.get(parameter["name"])
    return {value: {"value": value} for value in values or ()}


def _closed(schema: dict[str, Any]) -> None:
    """Let an answer have no field that the document lacks."""
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)


def _can_be_described(_context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Tell whether a valid request is one by the schema alone.

    A cursor is opaque and only a page's answer gives one; how many ids a query has in all its lists
    together is beyond JSON Schema. An answer that is held while its tag stands is not waited for:
    `tests/api/progress/test_wait.py` does that.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return True
    query = case.query or {}
    held = "wait" in query and case.headers is not None and "If-None-Match" in case.headers
    if held or "cursor" in query:
        return False
    lists = case.body.values() if isinstance(case.body, dict) else []
    return sum(len(ids) for ids in lists if isinstance(ids, list)) <= MAX_IDS


def _run(deployed: Deployment, document: dict[str, Any]) -> list[str]:
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "base-url": deployed.url,
            "headers": {"Authorization": f"Bearer {token(scope='ops')}"},
            "max-stream-events": 1,
            "request-timeout": 20,
            # A stream that has nothing to tell is quiet, which is no failure: read on no longer.
            "operations": [{"include-path-regex": "events$", "request-timeout": 3}],
            "generation": {"max-examples": 10 if THOROUGH else 4, "database": "none"},
            "phases": {"stateful": {"max-steps": 3}},
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.hook("filter_case")(_can_be_described)
    problems = []
    for event in from_schema(schema).execute():
        problems += _problems(event)
    return problems


def _problems(event: events.EngineEvent) -> list[str]:
    if isinstance(event, events.NonFatalError | events.FatalError):
        return [str(event)]
    if not isinstance(event, events.ScenarioFinished):
        return []
    return [
        f"{event.label} {event.phase.value}: {check.name}: {check.failure_info}"
        for checks in event.recorder.checks.values()
        for check in checks
        if check.failure_info is not None
    ]
