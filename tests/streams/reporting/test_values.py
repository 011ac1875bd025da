"""Values of an application in reports: numbers as ids, and results that JSON does not know."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import redis
from pydantic import BaseModel

from streams.appender import EventAppender
from streams.reporter import Reporter

ID = UUID("0195c7a2-1f00-7000-8000-000000000001")


def events(client: redis.Redis, tenant: str = "42") -> list[dict[str, Any]]:
    entries: Any = client.xrange(f"tenant:{tenant}:events")
    return [json.loads(fields[b"event"]) for _, fields in entries]


class Color(Enum):
    RED = "red"


class Word(StrEnum):
    EXCEL = "excel"


class Number(IntEnum):
    TWO = 2


class Row(NamedTuple):
    name: str
    born: date


@dataclass
class Summary:
    rows: int
    total: Decimal
    first: Row | None = None


class Model(BaseModel):
    id: UUID
    at: datetime
    summary: Summary


class Scalar:
    """A scalar as numpy has them: its value comes from `tolist`."""

    def tolist(self) -> float:
        return 1.5


DAY = date(2026, 11, 26)
TIME = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)

RESULTS: list[tuple[object, object]] = [
    (None, {}),
    ({}, {}),
    ({"day": DAY, "at": TIME}, {"day": "2026-11-26", "at": "2026-11-26T09:30:00+00:00"}),
    ({"id": ID, "total": Decimal("12.50")}, {"id": str(ID), "total": "12.50"}),
    ({"took": timedelta(minutes=1.5)}, {"took": 90.0}),
    ([1, 2], {"value": [1, 2]}),
    ((1, 2), {"value": [1, 2]}),
    ({2, 1}, {"value": [1, 2]}),
    ("text", {"value": "text"}),
    (7, {"value": 7}),
    (Summary(3, Decimal("1.0")), {"rows": 3, "total": "1.0", "first": None}),
    (Row("Ada", DAY), {"name": "Ada", "born": "2026-11-26"}),
    ([Row("Ada", DAY)], {"value": [{"name": "Ada", "born": "2026-11-26"}]}),
    (
        Model(id=ID, at=TIME, summary=Summary(1, Decimal(2))),
        {
            "id": str(ID),
            "at": "2026-11-26T09:30:00Z",
            "summary": {"rows": 1, "total": "2", "first": None},
        },
    ),
    ({"a": Scalar(), "b": [Scalar()]}, {"a": 1.5, "b": [1.5]}),
    (
        {1: "a", None: "b", DAY: "d", Color.RED: "e", ("x", 1): "f"},
        {"1": "a", "null": "b", "2026-11-26": "d", "red": "e", "('x', 1)": "f"},
    ),
    (
        {"path": Path("/tmp/a"), "raw": b"abc", "bytes": b"\xff"},
        {"path": "/tmp/a", "raw": "abc", "bytes": "/w=="},
    ),
    (MappingProxyType({"a": deque([1])}), {"a": [1]}),
    (OrderedDict(a=range(2)), {"a": [0, 1]}),
    (
        {"color": Color.RED, "word": Word.EXCEL, "two": Number.TWO},
        {"color": "red", "word": "excel", "two": 2},
    ),
    ({"name": "\udcff.xlsx"}, {"name": "?.xlsx"}),
    ({"big": 10**40, "day": DAY}, {"big": 10**40, "day": "2026-11-26"}),
    ({"nan": float("nan")}, {"nan": None}),
]


@pytest.mark.parametrize(("result", "expected"), RESULTS, ids=range(len(RESULTS)))
def test_result__is_written_as_one_expects(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, result: object, expected: object
) -> None:
    reporter = Reporter(EventAppender(redis_client), strict=True)
    with reporter.job("a1", tenant="42") as job:
        job.progress(extra={"it": result})
        job.done(result)
    assert events(redis_client)[-1]["result"] == expected
    assert caplog.records == []


def test_result__that_contains_itself__is_cut(redis_client: redis.Redis) -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with Reporter(EventAppender(redis_client)).job("a1", tenant="42") as job:
        job.done(endless)
    assert events(redis_client)[-1]["type"] == "done"


@pytest.mark.parametrize("value", [7, 7.5, ID, Number.TWO, Word.EXCEL, Decimal(3)])
def test_ids_and_labels__numbers_are_texts(redis_client: redis.Redis, value: Any) -> None:
    reporter = Reporter(EventAppender(redis_client), strict=True)
    text = str(value.value if isinstance(value, Enum) else value)
    labels: Any = {"value": value, "yes": True, "none": None, 3: "three"}
    with reporter.job(value, tenant=42, labels=labels, job_type=value):
        pass
    done = events(redis_client)[-1]
    assert (done["id"], done["job_type"]) == (text, text)
    assert done["labels"] == {"value": text, "yes": "true", "3": "three"}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ((50,), {"percent": 50}),
        ((12.5,), {"percent": 12.5}),
        ((Decimal("12.5"),), {"percent": 12.5}),
        (("parsing", 50), {"step": "parsing", "percent": 50}),
        ((3, 50), {"step": "3", "percent": 50}),
    ],
)
def test_progress__number_alone_is_the_percent(
    redis_client: redis.Redis, call: Any, expected: dict[str, Any]
) -> None:
    with Reporter(EventAppender(redis_client)).job("a1", tenant="42") as job:
        job.progress(*call)
    progress = events(redis_client)[1]
    assert expected.items() <= progress.items()
    assert ("step" in progress) == ("step" in expected)


def test_failed__exception_itself__has_its_code(redis_client: redis.Redis) -> None:
    with Reporter(EventAppender(redis_client)).job("a1", tenant="42") as job:
        job.failed(KeyError("x"))
    failed = events(redis_client)[-1]
    assert (failed["error"], failed["code"]) == ("'x'", "KeyError")


def test_numpy__scalars_and_arrays(redis_client: redis.Redis) -> None:
    numpy = pytest.importorskip("numpy")
    with Reporter(EventAppender(redis_client), strict=True).job(
        numpy.int64(9), tenant=numpy.int32(42)
    ) as job:
        job.progress(numpy.float32(12.5), step_index=numpy.int64(2))
        job.done({"mean": numpy.float64(1.5), "n": numpy.int64(3), "all": numpy.arange(2)})
    _, progress, done = events(redis_client)
    assert (progress["percent"], progress["step_index"], done["id"]) == (12.5, 2, "9")
    assert done["result"] == {"mean": 1.5, "n": 3, "all": [0, 1]}


def test_objects_with_failing_code__do_not_fail_the_job(redis_client: redis.Redis) -> None:
    class Failing(SimpleNamespace):
        def tolist(self) -> object:
            raise RuntimeError("no")

        def __str__(self) -> str:
            raise RuntimeError("no")

    with Reporter(EventAppender(redis_client)).job("a1", tenant="42") as job:
        job.done({"x": Failing()})
    assert events(redis_client)[-1]["result"] == {"x": "Failing"}
