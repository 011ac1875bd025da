"""Examples of progress answers in the OpenAPI document. Used by `api.spec.operations.progress`."""

from __future__ import annotations

from api.spec.operations.operation import Json

PROCESSING_JOB: Json = {
    "job_id": "report-1",
    "job_type": "excel",
    "status": "PROCESSING",
    "progress": {
        "rows": 1200,
        "step": "saving",
        "percent": 42.5,
        "step_index": 3,
        "step_total": 4,
        "step_name": "saving",
        "step_name_display": "저장",
        "step_percent": 40,
        "remaining_seconds": 12,
    },
    "attempt": 1,
    "updated_at": "2026-03-01T09:30:00Z",
}
DONE_JOB: Json = {
    "job_id": "report-1",
    "job_type": "excel",
    "status": "DONE",
    "progress": None,
    "error_message": None,
    "result": {"rows": 2841},
    "attempt": 1,
    "updated_at": "2026-03-01T09:30:12Z",
}
FAILED_JOB: Json = {
    "job_id": "report-2",
    "job_type": "excel",
    "status": "FAILED",
    "progress": None,
    "error_message": "no such sheet",
    "attempt": 2,
    "updated_at": "2026-03-01T09:31:00Z",
}
PROCESSING_VIDEO: Json = {
    "id": 7,
    "status": "PROCESSING",
    "encoding_progress": 42,
    "encoding_remaining_seconds": 61,
    "encoding_step_index": 4,
    "encoding_step_total": 7,
    "encoding_step_name": "인코딩",
    "encoding_step_percent": 30,
    "attempt": 1,
    "updated_at": "2026-03-01T09:30:00Z",
}
READY_VIDEO: Json = {
    "id": 7,
    "status": "READY",
    "encoding_progress": None,
    "encoding_remaining_seconds": None,
    "encoding_step_index": None,
    "encoding_step_total": None,
    "encoding_step_name": None,
    "encoding_step_percent": None,
    "hls_path": "videos/7/master.m3u8",
    "duration": 12.5,
    "attempt": 1,
    "updated_at": "2026-03-01T09:31:12Z",
}
PROGRESS_EXAMPLES: dict[str, Json] = {
    "job": {"processing": PROCESSING_JOB, "done": DONE_JOB, "failed": FAILED_JOB},
    "video": {"processing": PROCESSING_VIDEO, "ready": READY_VIDEO},
}
"""Examples by the kind's name, then by their own names. A kind without examples has its schema
only."""
