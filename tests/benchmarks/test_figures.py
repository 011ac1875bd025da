"""The benchmarks still run; what they measure is nobody's concern here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ["append_one", "append_many", "status", "rows", "progress", "replay"]


@pytest.mark.parametrize("names", [NAMES[:4], NAMES[4:]], ids=",".join)
def test_figures_are_found_beside_their_limits(names: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", *names, "--scale", "0.001", "--results", str(results)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads(results.read_text())["figures"]
    assert len(figures) >= len(names)
    assert all(figure["value"] > 0 and figure["limit"] for figure in figures)
