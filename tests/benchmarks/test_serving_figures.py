"""Small runs of the benchmarks of reads and commands, in another file to run at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.benchmarks import OTHERS, SERVING, expect_complete, run_small

pytestmark = [pytest.mark.thorough, pytest.mark.long]


@pytest.mark.parametrize("names", SERVING + OTHERS)
def test_the_benchmarks_of_serving_run_small(names: str, tmp_path: Path) -> None:
    expect_complete(run_small(names, tmp_path))
