"""A kind of jobs that another package adds: everything learns of it by its entry point."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.connection import connect
from tests.pipeline.conftest import Start, starting
from tests.support.waiting import eventually

ENTRY_POINTS = "[jobtrail.kinds]\ntranscript = acme_transcripts:TRANSCRIPT\n"
MODULE = """
TRANSCRIPT = {
    "name": "transcript",
    "url": "/transcripts",
    "plural": "transcripts",
    "words": {
        "queued": "WAITING",
        "processing": "LISTENING",
        "done": "WRITTEN",
        "failed": "FAILED",
        "cancelled": "CANCELLED",
    },
    "id_field": "transcript_id",
    "result_fields": ["language", "text"],
}
"""
EVENT = {
    "type": "done",
    "kind": "transcript",
    "id": "t1",
    "result": {"language": "ko", "text": "네"},
}
HEADERS = {"X-Tenant-ID": "42", "X-Jobtrail-Console": "1"}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start commands in an environment in which the package is installed."""
    (tmp_path / "acme_transcripts.py").write_text(MODULE)
    info = tmp_path / "acme_transcripts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-transcripts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with starting() as begin:
        yield begin


def test_a_kind_of_another_package(start: Start, redis_url: str, database_url: str) -> None:
    servers = {"redis_url": redis_url, "database_url": database_url, "auth": "dev", "api_port": "0"}
    for group in ("status", "rows"):
        start("consume", group, **servers)
    ask = Api(start("api", **servers))
    with connect(redis_url) as client:
        client.xadd("tenant:42:events", {"event": json.dumps(EVENT)})

    progress = eventually(lambda: ask("/transcripts/t1/progress/"), timeout=30)
    assert (progress["transcript_id"], progress["status"]) == ("t1", "WRITTEN")
    assert (progress["language"], progress["text"]) == ("ko", "네")
    row = eventually(lambda: ask("/transcripts/t1/"), timeout=30)
    assert (row["status"], row["text"]) == ("WRITTEN", "네")
    assert ask("/transcripts/?status=WRITTEN")["items"][0]["id"] == "t1"
    assert ask("/transcripts/t1/history/")["items"][0]["event"]["kind"] == "transcript"

    ask.has_learnt_of_the_kind()
    printed = start("status", "--tenant=42", "--kind=transcript", "t1", "--json", **servers)
    assert json.loads(printed.communicate()[0])["status"] == "WRITTEN"
    assert b"verified 1 jobs\n" in start("verify", "status", **servers).communicate()[0]


class Api:
    """Requests to an API that was just started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._url = process.stdout.readline().decode().removeprefix("api: ").strip()

    def __call__(self, path: str) -> Any:
        """Return the JSON of an answer, or raise AssertionError where it is not 200 yet."""
        return json.loads(self._text(path))

    def has_learnt_of_the_kind(self) -> None:
        """Check whatever else lists kinds."""
        asked = {"transcripts": ["t1"]}
        found = httpx.post(f"{self._url}/api/v1/progress/query", json=asked, headers=HEADERS)
        assert found.json()["transcripts"]["t1"]["status"] == "WRITTEN"
        paths = self("/openapi.json")["paths"]
        assert {f"/transcripts/{rest}" for rest in ("", "{id}/", "{id}/progress/")} <= paths.keys()
        assert '"transcript"' in json.dumps(paths["/api/v1/ops/jobs/"])
        assert self("/api/v1/ops/session/")["kinds"] == ["job", "video", "transcript"]
        script = self._text("/client.js")
        assert 'transcript: "/transcripts" };' in script
        assert "WRITTEN: 3" in script
        types = self._text("/client.d.ts")
        assert "  transcript: TranscriptState;\n}" in types
        assert "  text?: unknown;\n" in types

    def _text(self, path: str) -> str:
        response = httpx.get(f"{self._url}{path}", headers=HEADERS)
        assert response.status_code == 200, response.text
        return response.text
