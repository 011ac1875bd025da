"""Problems in the caller's language, with a type for programs."""

from __future__ import annotations

import re

import pytest

from api import app
from api.access import cors, limits, loopback
from api.http import problems
from api.http.languages import prefers_english
from api.http.problems import Problem
from api.operators import console
from api.progress import query
from tests.api.conftest import Asker

pytestmark = pytest.mark.anyio

JOB = "/api/v1/jobs/a1/progress/"


@pytest.mark.parametrize(
    ("value", "english"),
    [
        ("en", True),
        ("en-US,en;q=0.9", True),
        ("EN-gb ; q = 0.5", True),
        ("en;q=0.9, ko;q=0.8", True),
        ("en, ko", True),
        ("de, en;q=0.3", True),
        ("en-US, ko;q=0.9, en;q=0.1", True),
        ("ko", False),
        ("ko, en", False),
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", False),
        ("en;q=0.5, ko;q=0.501", False),
        ("en;q=0", False),
        ("ko;q=0, en;q=0.1", True),
        ("ko;q=0, en;q=0.1, *;q=0.5", True),
        ("en-US;q=0.1, ko;q=0.5, en;q=0.9", True),
        ("en;q=0, *;q=0", False),
        ("*", False),
        ("de", False),
        ("", False),
        ("en;q=0.5, *;q=0.9", False),
        ("en;q=0.5, *;q=0.1", True),
        ("english", False),
        ("en;q=x", False),
        (",,;;==, en", True),
        ("\xff, en;q=nan", False),
    ],
)
def test_prefers_english(value: str, *, english: bool) -> None:
    assert prefers_english(value.encode("latin-1")) is english


async def test_detail__in_english_where_that_is_preferred(ask: Asker) -> None:
    async with ask() as client:
        korean = await client.get(JOB)
        english = await client.get(JOB, headers={"accept-language": "en-US,en;q=0.9"})
    common = {"type": "no-such-job", "title": "Not Found", "status": 404}
    assert korean.json() == {**common, "detail": "진행 중인 작업이 아닙니다."}
    assert english.json() == {**common, "detail": "This job is not in progress."}


async def test_detail__every_way_that_a_problem_takes(ask: Asker) -> None:
    """From the endpoints, the router, the request guard, the dev mode's check and preflights."""
    origin = "https://app.example.com"
    async with ask({"accept-language": "en"}, cors_origins=origin) as client:
        preflight = {"access-control-request-method": "PUT", "origin": origin}
        answers = {
            "tenant-missing": await client.get(JOB),
            "no-such-page": await client.get("/none"),
            "method-not-allowed": await client.post("/healthz"),
            "url-too-long": await client.get("/" + "x" * 9_000),
            "not-this-machine": await client.get("/healthz", headers={"host": "evil.example"}),
            "origin-refused": await client.options(JOB, headers=preflight),
        }
        for word, answer in answers.items():
            problem = answer.json()
            assert (problem["type"], problem["detail"].isascii()) == (word, True)
        allowed = answers["method-not-allowed"].headers["allow"]
        assert set(allowed.split(", ")) == {"GET", "HEAD"}
        later = await client.get(JOB, headers={"accept-language": "ko"})
        assert later.json()["detail"] == "tenant가 필요합니다."


async def test_words__one_a_problem() -> None:
    assert {app, console, cors, limits, loopback, query}  # all that have problems of their own
    classes = {
        each
        for module in (problems, cors, limits, loopback)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Problem) and each is not Problem
    }
    words = [each.problem_type for each in classes]
    assert len(set(words)) == len(words) == len({each.english for each in classes})
    assert all(re.fullmatch("[a-z-]+", word) for word in words)
    assert not prefers_english(b"ko")
