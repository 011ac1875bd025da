"""Small runs of the benchmarks that append and project."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.benchmarks import PROJECTING, expect_complete, run_small

pytestmark = [pytest.mark.thorough, pytest.mark.long]


@pytest.mark.parametrize("names", PROJECTING)
def test_the_benchmarks_of_projections_run_small(names: str, tmp_path: Path) -> None:
    expect_complete(run_small(names, tmp_path))
