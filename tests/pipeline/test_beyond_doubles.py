"""Numbers that are JSON and no double: every projection and every reader says the same of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.pipeline.conftest import Start, environ
from tests.support.battery import run_here
from tests.support.waiting import eventually

NUMBERS = ("1e400", "-1e400", "1" + "0" * 400, "1e-400", "123456789012345678901234567890")


def events() -> list[bytes]:
    found = []
    for place, number in enumerate(NUMBERS):
        head = f'"id":"n{place}","labels":{{"a":"b"}}'
        found += [
            f'{{"type":"processing",{head},"more":{number}}}',
            f'{{"type":"progress",{head},"percent":{number},"step_percent":{number}}}',
            f'{{"type":"progress",{head},"extra":{{"n":{number},"deep":[{{"n":{number}}}]}}}}',
            f'{{"type":"done",{head},"result":{{"n":{number},"deep":[{{"n":{number}}}]}}}}',
            f'{{"type":"progress","id":"p{place}","percent":{number},"extra":{{"n":{number}}}}}',
        ]
    return [each.encode() for each in found]


def test_numbers_beyond_doubles__projections_agree_and_answers_are_json(
    start: Start, redis_client: redis.Redis, servers: dict[str, str], tmp_path: Path
) -> None:
    for event in events():
        redis_client.xadd("tenant:t:events", {"event": event})
    for group in ("status", "rows"):
        start("consume", group, **servers)

    def settled() -> bool:
        groups = redis_client.xinfo_groups("tenant:t:events")
        return len(groups) == 2 and all(each["pending"] == each["lag"] == 0 for each in groups)

    eventually(settled, 30, "the projections")
    assert redis_client.keys("tenant:t:dead") == []
    given = environ({**servers, "data_dir": str(tmp_path)})
    for words in (
        ("verify", "rows"),
        ("verify", "status"),
        ("replay", "rows", "--reset"),
        ("replay", "status", "--reset"),
        ("verify", "rows"),
        ("verify", "status"),
    ):
        status, printed, complaint = run_here(given, words)
        assert (status, complaint) == (0, ""), (words, printed, complaint)
    api = start("api", auth="dev", api_port="0", **servers)
    assert api.stdout is not None
    url = api.stdout.readline().decode().removeprefix("api: ").strip()
    with httpx.Client(base_url=url, headers={"x-tenant-id": "t"}) as client:

        def ask(path: str) -> Any:
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
            return json.loads(answer.content, parse_constant=pytest.fail)

        for place in range(len(NUMBERS)):
            row, progress = ask(f"/api/v1/jobs/n{place}/"), ask(f"/api/v1/jobs/n{place}/progress/")
            assert row["result"] == progress["result"]
            ask(f"/api/v1/jobs/p{place}/progress/")
            ask(f"/api/v1/jobs/n{place}/history/")
            ask(f"/api/v1/ops/jobs/t/job/n{place}/")
            ask(f"/api/v1/ops/jobs/t/job/n{place}/history/")
        ask("/api/v1/jobs/")
        assert ask("/api/v1/jobs/n0/")["result"] == {
            "n": None,
            "deep": [{"n": None}],
        }
