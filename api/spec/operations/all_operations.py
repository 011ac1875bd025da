"""All operations of the API, in one list. Used by `api.spec.document` and by tests."""

from __future__ import annotations

from typing import Any

from api.http.problems import TryLater
from api.spec.models.monitoring import Alive, Ready
from api.spec.operations.dead_letters import dead_letter_operations
from api.spec.operations.figures import figure_operations
from api.spec.operations.jobs import job_operations
from api.spec.operations.operation import Access, Operation
from api.spec.operations.operators import operator_operations
from api.spec.operations.progress import progress_operations


def operations() -> list[Operation]:
    """Return all operations, in the order of the document."""
    return [
        *progress_operations(),
        *job_operations(),
        *operator_operations(),
        *figure_operations(),
        *dead_letter_operations(),
        *_monitoring(),
    ]


def _monitoring() -> list[Operation]:
    def get(name: str, path: str, summary: str, **more: Any) -> Operation:
        access = Access.PUBLIC
        return Operation(name, "get", path, "monitoring", summary, access=access, **more)

    return [
        get("isAlive", "/healthz", "Check whether the process is alive", answer=Alive),
        get(
            "isReady",
            "/readyz",
            "Check whether requests can be served",
            answer=Ready,
            problems=(TryLater,),
        ),
        get("getMetrics", "/metrics", "Retrieve metrics for Prometheus", media="text/plain"),
        get("getOpenApi", "/openapi.json", "Retrieve this document"),
        get("getDocs", "/docs", "Retrieve this document as a web page", media="text/html"),
    ]
