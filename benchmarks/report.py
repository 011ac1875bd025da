"""The results: one figure in a line, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Cpu

RESULTS = Path(__file__).parent / "results" / "latest.json"
WIDTH = 160
"""The width of a table that is not printed on a terminal."""


@dataclass(frozen=True)
class Figure:
    """One result: `value` is compared with the aim, and is a ratio unless it has a unit.

    A figure without an aim is for comparison.
    """

    name: str
    value: float
    aim: float | None = None
    _: KW_ONLY
    at_least: bool = False
    """True if more is better; if not, the aim is an upper bound."""
    unit: str = ""
    product: str = ""
    limit: str = ""
    cpu: Cpu | None = None
    """CPU microseconds of each event or request."""
    limit_cpu: Cpu | None = None
    """The same of the limit."""
    rounds: Sequence[tuple[float, float]] = ()
    """The product and its limit, round by round."""
    timed: bool = True
    """True if a busy machine changes it."""
    key: str = ""
    """A short name that does not depend on the scale; plots select figures by it."""
    doubt: str = ""
    """The reason to doubt the figure, because the machine was busy; empty if there is none."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        """True if the aim was reached; None if there is none."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    def shown(self, number: float) -> str:
        """Return a number as text, in the format of this figure."""
        if not self.unit:
            return f"{number:.2f} ×" if abs(number) < 100 else f"{number:,.0f} ×"
        return f"{number:,.0f} {self.unit}" if number >= 100 else f"{number:.3g} {self.unit}"

    @property
    def aim_shown(self) -> str:
        """The aim as text; empty if there is none."""
        sign = "≥" if self.at_least else "≤"
        return "" if self.aim is None else f"{sign} {self.shown(self.aim)}"


def cpu_shown(cpu: Cpu | None) -> str:
    """Return CPU microseconds as text, without the parts that are zero."""
    if cpu is None:
        return ""
    named = zip(("py", "redis", "pg"), cpu, strict=True)
    parts = [f"{name} {spent:,.1f}" for name, spent in named if spent >= 0.05]
    return " + ".join(parts) or "0"


def print_table(figures: Sequence[Figure], title: str) -> None:
    """Print the figures, and which aims were not reached and which figures are in doubt."""
    console = Console(width=None if Console().is_terminal else WIDTH)
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    headings = (
        "jobtrail",
        "beside it",
        "value",
        "aim",
        "met",
        "CPU µs each",
        "CPU µs each, beside it",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for figure in figures:
        table.add_row(
            figure.name,
            figure.product,
            figure.limit,
            figure.shown(figure.value),
            figure.aim_shown,
            _MET[figure.reached] + (" [yellow]?" if figure.doubt else ""),
            cpu_shown(figure.cpu),
            cpu_shown(figure.limit_cpu),
        )
    console.print(table)
    doubtful = [figure for figure in figures if figure.doubt]
    if doubtful:
        console.print("[yellow]? The machine was too busy for these figures to be believed:")
    for figure in doubtful:
        console.print(f"  {figure.name}: {figure.doubt}", highlight=False)


_MET = {True: "[green]yes", False: "[bold red]NO", None: ""}


def markdown(results: Path) -> str:
    """Return written results as a table in Markdown."""
    content = orjson.loads(results.read_bytes())
    lines = ["| what | jobtrail | beside it | value | aim |", "|---|---|---|---|---|"]
    for found in content["figures"]:
        figure = Figure(found["name"], found["value"], found["aim"], **_told(found))
        aim = figure.aim_shown + ("" if figure.reached is not False else " (missed)")
        value = figure.shown(figure.value) + (" ?" if figure.doubt else "")
        lines.append(f"| {figure.name} | {figure.product} | {figure.limit} | {value} | {aim} |")
    return "\n".join(lines)


def _told(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: found[name] for name in ("at_least", "unit", "product", "limit", "doubt")}


def write_json(
    figures: Sequence[Figure], facts: Mapping[str, Any], scale: float, path: Path
) -> None:
    """Write all results, including the rounds."""
    path.parent.mkdir(exist_ok=True)
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": scale,
        "machine": facts,
        "figures": [
            {
                **{name: getattr(figure, name) for name in _SHOWN},
                "cpu_us": figure.cpu and figure.cpu._asdict(),
                "limit_cpu_us": figure.limit_cpu and figure.limit_cpu._asdict(),
                "details": figure.details,
            }
            for figure in figures
        ],
    }
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


_SHOWN = "key name value aim at_least unit reached doubt product limit rounds".split()


def machine() -> dict[str, Any]:
    """Return the facts of the machine and its software that the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "machine": platform.machine(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
