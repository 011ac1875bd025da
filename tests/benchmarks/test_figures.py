"""The benchmarks of what is appended and projected still run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from tests.support.benchmarks import PROJECTING, SERVING, expect_complete, run_small

ELSEWHERE = {"storm"}
"""Benchmarks with tests of their own."""


@pytest.mark.parametrize("names", PROJECTING)
def test_the_benchmarks_of_projections_run_small(names: str, tmp_path: Path) -> None:
    expect_complete(run_small(names, tmp_path))


def test_every_benchmark_is_run() -> None:
    assert set(" ".join(PROJECTING + SERVING).split()) == BENCHMARKS.keys() - ELSEWHERE
