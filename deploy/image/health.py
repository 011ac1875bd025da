#!/opt/jobtrail/bin/python
"""Health check of a container: exit with 0 if its API or consumer is alive, else with 1.

It asks the ports that the environment names: `/healthz` of an API; `/metrics` of a consumer, whose
loop must also have begun a turn in the last ten minutes. Standard library only, to start quickly.
"""

from __future__ import annotations

import os
import re
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress

TIMEOUT_SECONDS = 3.0
STUCK_SECONDS = 600.0
"""Twice the time after which the alert JobtrailConsumerStuck looks."""
_LAST_TURN = re.compile(
    r"^jobtrail_consumer_last_turn_timestamp_seconds\{[^}]*\} (\S+)$", re.MULTILINE
)
# No proxy: the process is in the same container.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _get(port: str, path: str) -> str | None:
    """Return the body of an answer with status 200, or None without one."""
    with (
        suppress(OSError, ValueError),
        _OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_SECONDS) as answer,
    ):
        return str(answer.read().decode())
    return None


def turns(metrics: str, now: float) -> bool:
    """Return whether the consumer of these metrics began a turn lately."""
    return any(now - float(last) < STUCK_SECONDS for last in _LAST_TURN.findall(metrics))


def alive(environ: Mapping[str, str]) -> bool:
    """Return whether the process that has this environment is alive."""
    metrics_port = environ.get("JOBTRAIL_METRICS_PORT")
    if metrics_port:
        metrics = _get(metrics_port, "/metrics")
        return metrics is not None and turns(metrics, time.time())
    return _get(environ.get("JOBTRAIL_API_PORT") or "8000", "/healthz") is not None


if __name__ == "__main__":
    sys.exit(not alive(os.environ))
