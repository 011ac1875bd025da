"""Progress answers, field by field, from documents of any age."""

from __future__ import annotations

from typing import Any

import pytest

from api.answers.progress_answer import progress_answer
from api.http.responses import json_bytes
from projections.documents import Documents
from streams.events import dump_json
from streams.kinds import KINDS

JOB, VIDEO = KINDS["job"], KINDS["video"]
PROCESSING = {"status": "PROCESSING"}
NO_STEP = {
    "encoding_step_index": None,
    "encoding_step_total": None,
    "encoding_step_name": None,
    "encoding_step_percent": None,
}


def documents(status: object, progress: object = None) -> Documents:
    return Documents(dump_json(status), None if progress is None else dump_json(progress))


def video(progress: object, **status: Any) -> dict[str, Any]:
    found = progress_answer(VIDEO, "7", documents(PROCESSING | status, progress))
    assert found is not None
    return found


def test_job__old_document() -> None:
    """A document of an old writer, which lacks newer fields, is answered."""
    found = progress_answer(JOB, "a1", documents({"status": "PROCESSING", "job_type": "x"}))
    assert found == {"job_id": "a1", "job_type": "x", "status": "PROCESSING", "progress": None}


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        ("PENDING", {}),
        ("DONE", {"error_message": None, "result": {"n": 1}}),
        ("FAILED", {"error_message": "e"}),
        ("CANCELLED", {"error_message": "e"}),
    ],
)
def test_job__not_processing(word: str, ending: dict[str, Any]) -> None:
    """Only a processing job has progress; only an ended one has a result or an error."""
    error = None if word == "DONE" else "e"
    status = {"status": word, "job_type": "x", "error_message": error, "result": {"n": 1}}
    found = progress_answer(JOB, "12", documents(status, {"step": "s"}))
    assert found == {"job_id": "12", "job_type": "x", "status": word, "progress": None} | ending


def test_job__omitted_result() -> None:
    status = {"status": "DONE", "result": None, "result_omitted": True, "result_bytes": 12_000}
    found = progress_answer(JOB, "a", documents(status))
    assert found is not None
    assert (found["result"], found["result_omitted"], found["result_bytes"]) == (None, True, 12_000)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"DONE"', b"\xff", b"[" * 100_000])
def test_status__no_object(raw: bytes) -> None:
    """A status document that is not a JSON object counts as missing."""
    assert progress_answer(JOB, "a", Documents(raw, None)) is None


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"3", b"\xff"])
@pytest.mark.parametrize("kind", [JOB, VIDEO])
def test_progress__no_object(kind: Any, raw: bytes) -> None:
    """A progress document that is not a JSON object counts as missing."""
    status = dump_json(PROCESSING)
    assert progress_answer(kind, "7", Documents(status, raw)) == progress_answer(
        kind, "7", Documents(status, None)
    )


@pytest.mark.parametrize("word", ["ENCODING", None, 5, ["PROCESSING"], {}])
def test_status__unknown_word(word: object) -> None:
    """A status that the kind does not have is copied; the job is neither processing nor ended."""
    found = progress_answer(
        JOB, "a", documents({"status": word, "error_message": "e"}, {"step": "s"})
    )
    assert found == {"job_id": "a", "job_type": None, "status": word, "progress": None}


@pytest.mark.parametrize(
    ("job_id", "shown"),
    [("7", 7), ("0", 0), ("007", "007"), ("7a", "7a"), ("9" * 30, int("9" * 30)), ("1.5", "1.5")],
)
def test_video__id(job_id: str, shown: object) -> None:
    found = progress_answer(VIDEO, job_id, documents(PROCESSING))
    assert found is not None
    assert found["id"] == shown
    assert f'"id":{shown if isinstance(shown, int) else chr(34) + job_id}'.encode() in json_bytes(
        found
    )


def test_video__without_progress() -> None:
    assert video(None) == {
        "id": 7,
        "status": "PROCESSING",
        "encoding_progress": None,
        "encoding_remaining_seconds": None,
        **NO_STEP,
    }


@pytest.mark.parametrize(
    ("progress", "percent"),
    [
        ({"percent": 42.9}, 42),
        ({"percent": 0}, 0),
        ({"percent": 180}, 100),
        ({"percent": -3}, 0),
        ({"percent": "12"}, 12),
        ({"percent": "soon", "step": "probing"}, 15),
        ({"percent": None, "step": "presigning"}, 5),
        ({"step": "downloading"}, 10),
        ({"step": "transcoding"}, 50),
        ({"step": "thumbnail"}, 85),
        ({"step": "validating"}, 90),
        ({"step": "publishing"}, 97),
        ({"step": "dancing"}, 50),
        ({"step": ["probing"]}, 50),
        ({}, 50),
    ],
)
def test_video__percent(progress: dict[str, Any], percent: int) -> None:
    """The percentage takes precedence over the step's share, and that over 50."""
    assert video(progress)["encoding_progress"] == percent


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_video__percent_is_no_number(number: str) -> None:
    """NaN and infinities, as Python's json module writes them, are no percentage and no error."""
    raw = f'{{"percent":{number},"step":"probing","remaining_seconds":{number}}}'.encode()
    found = progress_answer(VIDEO, "7", Documents(dump_json(PROCESSING), raw))
    assert found is not None
    assert (found["encoding_progress"], found["encoding_remaining_seconds"]) == (15, None)


@pytest.mark.parametrize(
    ("given", "shown"), [(12.7, 12), (0, 0), (-4, 0), (None, None), ("x", None), ([], None)]
)
def test_video__remaining_seconds(given: object, shown: int | None) -> None:
    assert video({"remaining_seconds": given})["encoding_remaining_seconds"] == shown


STEP = {"step_index": 4, "step_total": 7, "step_name": "transcoding", "step_percent": 30.5}


def test_video__step() -> None:
    step = video(STEP | {"step_name_display": "인코딩"})
    assert {name: step[name] for name in NO_STEP} == {
        "encoding_step_index": 4,
        "encoding_step_total": 7,
        "encoding_step_name": "인코딩",
        "encoding_step_percent": 30,
    }
    assert video(STEP | {"step_name_display": None})["encoding_step_name"] == "transcoding"


@pytest.mark.parametrize("missing", STEP)
def test_video__step_incomplete(missing: str) -> None:
    """The known fields of a step are answered, whichever are missing."""
    whole, found = video(STEP), video(STEP | {missing: None})
    absent = f"encoding_{missing}"
    assert whole[absent] is not None
    assert {name: found[name] for name in NO_STEP} == {
        name: None if name == absent else whole[name] for name in NO_STEP
    }


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        ("UPLOADED", {}),
        ("READY", {"hls_path": "p", "duration": 3}),
        ("FAILED", {"hls_path": "p", "duration": 3, "error_reason": "e"}),
        ("CANCELLED", {"hls_path": "p", "duration": 3, "error_reason": "e"}),
    ],
)
def test_video__not_processing(word: str, ending: dict[str, Any]) -> None:
    status = {"status": word, "hls_path": "p", "duration": 3, "error_reason": "e"}
    found = progress_answer(VIDEO, "7", documents(status, STEP))
    assert found == {
        "id": 7,
        "status": word,
        "encoding_progress": None,
        "encoding_remaining_seconds": None,
        **NO_STEP,
        **ending,
    }


def test_json__numbers_of_any_size() -> None:
    """Integers of a result are answered unchanged, and NaN and infinities as null."""
    raw = b'{"status":"DONE","result":{"big":%d,"none":NaN}}' % 2**80
    body = json_bytes(progress_answer(JOB, "a", Documents(raw, None)))
    assert b'"result":{"big":%d,"none":null}' % 2**80 in body
