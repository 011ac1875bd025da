"""Reports of figures: doubts, the table in Markdown, plots."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measure import Cpu
from benchmarks.peers.bullmq import install
from benchmarks.plots import ALL, THEMES, draw
from benchmarks.quiet import doubt
from benchmarks.report import Figure, cpu_shown, markdown, write_json

FACTS = {"cores": 2, "machine": "x86_64", "python": "3.11", "redis": "8.2", "postgres": "18"}
KEYS = {bar.key for plot in ALL.values() for group in plot.groups for bar in group.bars}


def written(tmp_path: Path, *, scale: float = 1, why: str = "") -> Path:
    """Write results with all figures that plots show."""
    figures = [
        Figure(
            f"figure {key}",
            0.5,
            0.6,
            at_least=True,
            product="1,000 /s",
            limit="2,000 /s",
            cpu=Cpu(5, 2.5, 0),
            limit_cpu=Cpu(20, 2.5, 6),
            rounds=[(1000.0, 2000.0), (1100.0, 2200.0), (900.0, 1800.0)],
            key=key,
            doubt=why,
        )
        for key in sorted(KEYS)
    ]
    path = tmp_path / "results.json"
    write_json([*figures, Figure("without an aim", 3.0, unit="ms")], FACTS, scale, path)
    return path


@pytest.mark.parametrize(
    ("others", "baseline", "why"),
    [
        (0.02, [100, 110, 120], ""),
        (0.5, [100, 110, 120], "others used 50% of the machine"),
        (0.02, [100, 150, 120], "rounds of the baseline differ by 50%"),
        (0.02, [], ""),
    ],
)
def test_a_busy_machine_is_told_by_others_and_by_the_baseline(
    others: float, baseline: list[float], why: str
) -> None:
    assert doubt(others, [(1.0, limit) for limit in baseline]) == why


@pytest.mark.parametrize(
    ("at_least", "value", "reached"),
    [(True, 0.5, False), (True, 0.6, True), (False, 0.6, True), (False, 0.7, False)],
)
def test_an_aim_is_a_bound_from_one_side(at_least: bool, value: float, reached: bool) -> None:  # noqa: FBT001 - parametrized
    assert Figure("it", value, 0.6, at_least=at_least).reached is reached


def test_a_figure_without_an_aim_neither_meets_nor_misses_one() -> None:
    assert Figure("it", 0.5).reached is None
    assert Figure("it", 0.5).aim_shown == ""


def test_parts_of_cpu_time_that_are_nothing_are_left_out() -> None:
    assert cpu_shown(Cpu(4.94, 2.4, 0.0)) == "py 4.9 + redis 2.4"
    assert cpu_shown(Cpu(0, 0, 0)) == "0"


def test_the_table_says_what_was_missed_and_what_is_doubtful(tmp_path: Path) -> None:
    table = markdown(written(tmp_path, why="others used 50% of the machine")).splitlines()
    assert "| figure poll | 1,000 /s | 2,000 /s | 0.50 × ? | ≥ 0.60 × (missed) |" in table
    assert "| without an aim |  |  | 3 ms |  |" in table


def test_plots_are_small_and_say_what_when_and_where(tmp_path: Path) -> None:
    files = draw(written(tmp_path), tmp_path / "plots")
    assert {path.name for path in files} == {
        f"{name}-{theme}.svg" for name in ALL for theme in THEMES
    }
    for path in files:
        text = path.read_text()
        assert len(text) < 60_000
        assert "2 cores (x86_64), Python 3.11, Redis 8.2, PostgreSQL 18" in text
        assert "believed" not in text
        assert "scale" not in text.partition("</metadata>")[2].replace("scale(", "")
    assert ">events a second, one process<" in files[0].read_text()
    assert files[0].read_text() == draw(written(tmp_path), tmp_path / "again")[0].read_text()


def test_plots_of_a_busy_machine_say_so(tmp_path: Path) -> None:
    results = written(tmp_path, scale=0.1, why="others used 50% of the machine")
    for path in draw(results, tmp_path):
        assert "too busy for these figures to be believed" in path.read_text()
        assert "scale 0.1" in path.read_text()


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json([Figure("it", 1.0, key="append_one")], FACTS, 1, path)
    assert draw(path, tmp_path) == []


def test_bullmq_is_left_out_with_a_reason_where_there_is_no_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install(tmp_path) == "there is no node or no npm"
