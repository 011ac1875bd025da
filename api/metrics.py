"""Every metric of the API, one literal each. No tenant and no id is ever a label."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Histogram

REQUEST_SECONDS = Histogram(
    "jobtrail_http_request_seconds",
    "Seconds from a request to the end of its answer; its count is the count of requests.",
    ["route", "status"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
READ_BATCH = Histogram(
    "jobtrail_read_batch_jobs",
    "Jobs read by one MGET.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)


def observe_request(route: str, status: int, seconds: float) -> None:
    """Count one answered request under its route's pattern and its class of status."""
    _request_seconds(route, status // 100).observe(seconds)


@lru_cache
def _request_seconds(route: str, status_class: int) -> Histogram:
    """Find the child once: `labels` costs more than the observation itself."""
    return REQUEST_SECONDS.labels(route, f"{status_class}xx")
