"""What was found: one figure a line, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True)
class Figure:
    """One thing measured: `value` is what the aim is about, a ratio unless it has a unit."""

    name: str
    value: float
    aim: float
    at_least: bool = False
    """Whether more is better; otherwise the aim is a bound from above."""
    unit: str = ""
    product: str = ""
    limit: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether the aim was reached."""
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    def shown(self, number: float) -> str:
        """Write a number as this figure's."""
        if not self.unit:
            return f"{number:.2f} ×"
        return f"{number:,.0f} {self.unit}" if number >= 100 else f"{number:.3g} {self.unit}"


def print_table(figures: Sequence[Figure], title: str) -> None:
    """Print the figures; an aim that was not reached is shown plainly."""
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    for heading in ("product", "limit", "value", "aim"):
        table.add_column(heading, justify="right")
    table.add_column("reached")
    for figure in figures:
        aim = f"{'≥' if figure.at_least else '≤'} {figure.shown(figure.aim)}"
        reached = "[green]yes" if figure.reached else "[bold red]NO"
        value = figure.shown(figure.value)
        table.add_row(figure.name, figure.product, figure.limit, value, aim, reached)
    Console(width=None if Console().is_terminal else 132).print(table)


def write_json(
    figures: Sequence[Figure], facts: Mapping[str, Any], scale: float, path: Path
) -> None:
    """Write all of it, the rounds included."""
    path.parent.mkdir(exist_ok=True)
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": scale,
        "machine": facts,
        "figures": [
            {**{name: getattr(figure, name) for name in _SHOWN}, "details": figure.details}
            for figure in figures
        ],
    }
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


_SHOWN = "name value aim at_least unit reached product limit".split()


def machine() -> dict[str, Any]:
    """Give what the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "machine": platform.machine(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
