"""The table in `docs/metrics.md`, made from the code: `python -m tests.deploy.metric_table`."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import REGISTRY

import api.metrics
import consumers.metrics
from consumers.collectors import EventHistogram, FleetingGauge

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"

ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def described() -> dict[str, tuple[str, str]]:
    """Give type and meaning of every metric of ours, by the name that is scraped."""
    found = {}
    for family in REGISTRY.collect():
        if family.name.startswith("jobtrail_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = (family.type, family.documentation)
    return found


def sample_names() -> set[str]:
    """Give every name that a query may use."""
    return {
        name.removesuffix("_total") + ending
        for name, (kind, _) in described().items()
        for ending in ENDINGS[kind]
    }


def labels() -> dict[str, tuple[str, ...]]:
    """Give the names of labels, by metric."""
    found: dict[str, tuple[str, ...]] = {}
    for module in (consumers.metrics, api.metrics):
        for metric in vars(module).values():
            if isinstance(metric, EventHistogram):
                found[metric._name] = (metric._label,)
            elif isinstance(metric, FleetingGauge):
                found[metric._name] = metric._labels
            elif hasattr(metric, "_labelnames"):
                found[metric._name] = tuple(metric._labelnames)
    return {name.removesuffix("_total"): names for name, names in found.items()}


def table() -> str:
    """Give the table in Markdown."""
    lines = ["| metric | type | labels | what it is |", "|---|---|---|---|"]
    named = labels()
    for name, (kind, meaning) in sorted(described().items()):
        shown = ", ".join(f"`{label}`" for label in named[name.removesuffix("_total")])
        lines.append(f"| `{name}` | {kind} | {shown} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(before + BEGIN + table() + END + after)
