"""A field of progress: one field of the model in a copy of the code, which projections take."""

from __future__ import annotations

import json
from pathlib import Path

from tests.docs.pages import blocks_of
from tests.extending.copied_code import CopiedCode

PROGRAM = """
import json
import sys

from projections.decoding import Progress, decode_event
from projections.documents import Documents, read_documents, write_documents
from projections.fold import fold_all
from projections.rows.columns import COLUMNS
from streams.entry_ids import EntryId
from streams.events import parse_event
from streams.keys import JobKey
from streams.kinds import KINDS

raw = sys.argv[1].encode()
event = decode_event(raw)
assert type(event) is Progress and parse_event(raw).eta_percent == 120
state = fold_all(None, [(EntryId(1, 0), event)])
documents = write_documents(KINDS["job"], state)
assert read_documents(KINDS["job"], documents) == state
(column,) = (each for each in COLUMNS if each.name == "progress")
row = column.value(JobKey("42", "job", "a1"), state)

newer = {"eta_percent", "region"}
written = json.loads(documents.progress)
older = {name: value for name, value in written.items() if name not in newer}
read = read_documents(KINDS["job"], Documents(documents.status, json.dumps(older).encode()))
print(json.dumps([written, row, read.progress.fields]))
"""
FIELDS = "    eta_percent: float | None = None\n    region: Word | None = None\n"


def test_field_of_the_model_is_in_every_projection(tmp_path: Path) -> None:
    code = CopiedCode(tmp_path, {})
    code.insert("streams/events.py", "    extra: Annotated[dict", FIELDS)
    event = {"type": "progress", "id": "a1", "step": "x", "eta_percent": 120, "region": "kr"}
    document, row, older = json.loads(code.python("-c", PROGRAM, json.dumps(event)))
    assert document == row
    assert (document["eta_percent"], document["region"]) == (100, "kr")
    # A document from before the upgrade lacks the fields.
    assert (older["step"], older["eta_percent"], older["region"]) == ("x", None, None)


REPORT = """
import asyncio
import json

from api.spec.models.progress import JobProgressDetail
from streams.recording import recording

with recording() as jobs:
    with jobs.reporter.job("a1", tenant="42") as job:
        job.progress("copying", bytes_done=5)
        job.progress("copying", bytes_done=6)

    async def report():
        async with jobs.async_reporter.job("a2", tenant="42") as job:
            await job.progress("copying", bytes_done=7)

    asyncio.run(report())
    reported = [
        event["bytes_done"]
        for name in ("a1", "a2")
        for event in jobs[name].events
        if event["type"] == "progress"
    ]
print(json.dumps([reported, "bytes_done" in JobProgressDetail.model_fields]))
"""


def test_field_of_the_page_is_in_the_sdk_and_the_answers(tmp_path: Path) -> None:
    code = CopiedCode(tmp_path, {})
    lines = {
        block.title: [f"{line}\n" for line in block.text.strip().splitlines()]
        for block in blocks_of("extending/progress-field.md")
        if block.title
    }
    model, sdk, forms, answers = lines.values()
    code.insert("streams/events.py", "    extra: Annotated[dict", f"    {model[0]}    {model[1]}")
    for file in ("streams/job_report.py", "streams/async_job_report.py"):
        code.insert(file, "        extra: Mapping[str, Any] | None = None,\n", f"        {sdk[0]}")
        code.insert(file, '            "extra": extra,\n', f"            {sdk[1]}")
    fields = "streams/reporting/fields.py"
    code.insert(fields, '    "remaining_seconds": as_number,\n', f"    {forms[0]}")
    code.insert(fields, '    "remaining_seconds": _NUMBERS,\n', f"    {forms[1]}")
    code.insert("api/spec/models/progress.py", "\n\ndef _progress_model(", f"    {answers[0]}")
    assert json.loads(code.python("-c", REPORT)) == [[5, 6, 7], True]
