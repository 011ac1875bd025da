"""Benchmarks run small, to see that they still run: what they measure is nobody's concern here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.__main__ import BENCHMARKS

PROJECTING = [
    "append_one append_many status rows faststream celery bytes size",
    "contention memory replay rebuild",
]
SERVING = ["progress query drf latency", "feed listing console tenants startup roster bullmq"]
"""Benchmarks by what they are about, those of one line in one run."""

_LISTED = set(" ".join(PROJECTING + SERVING).split())
OTHERS = [name for name in BENCHMARKS if name not in _LISTED]
"""Benchmarks that no line has, each in a run of its own: none is left out."""

SECONDS = 300


def run_small(names: str, folder: Path) -> list[dict[str, Any]]:
    """Run these benchmarks at the smallest scale and return their figures."""
    results = folder / "results.json"
    argv = [*names.split(), "--scale", "0.001", "--results", str(results)]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", *argv],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert results.exists()
    figures: list[dict[str, Any]] = json.loads(results.read_text())["figures"]
    return figures


def expect_complete(figures: list[dict[str, Any]]) -> None:
    """Expect of figures what a reader needs: a value, and what it costs beside a rate."""
    assert figures
    for figure in figures:
        assert figure["value"] >= 0
        assert figure["reached"] is None or figure["aim"] is not None
        if figure["limit"].endswith(" /s") and figure["cpu_us"]:
            assert figure["rounds"]
            assert figure["limit_cpu_us"]
