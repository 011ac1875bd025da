"""Plots of a run's results, for docs/benchmarks.md: SVG, each for light and for dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl
import orjson
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

PLOTS = Path(__file__).parents[1] / "docs" / "plots"

PRODUCT, LIMIT = "product", "limit"
"""The two sides of a figure: the product and its limit."""

Figures = Mapping[str, Mapping[str, Any]]
"""Figures of a run, by their keys."""


class Bar(NamedTuple):
    """One side of a figure."""

    label: str
    key: str
    side: str = PRODUCT
    raw_limit: bool = False
    """True for a limit that no product can exceed, False for another product."""


class Group(NamedTuple):
    """Bars of the same work."""

    title: str
    bars: Sequence[Bar]


class Plot(NamedTuple):
    """Groups of bars on one axis."""

    title: str
    axis: str
    groups: Sequence[Group]
    cpu: bool = False
    """True if bars are CPU time by process, False if they are rates."""


_STATUS = (
    Bar("jobtrail", "status"),
    Bar("FastStream, in batches", "faststream_status", LIMIT),
)
_ROWS = (
    Bar("jobtrail", "rows_large"),
    Bar("FastStream, the same history", "faststream_history", LIMIT),
    Bar("FastStream, upsert, no history", "faststream_rows", LIMIT),
)
_READ = Bar("limit: read and acknowledge", "status", LIMIT, raw_limit=True)
_SENT_AGAIN = Bar("limit: its statements, ready-made rows", "rows_large", LIMIT, raw_limit=True)
_POLLS = (
    Bar("jobtrail", "poll"),
    Bar("DRF, Celery's AsyncResult", "poll_celery", LIMIT),
    Bar("DRF, a row of PostgreSQL", "poll_drf", LIMIT),
    Bar('limit: "hello" on the same server', "poll", LIMIT, raw_limit=True),
)

ALL: Mapping[str, Plot] = {
    "projections": Plot(
        "Projecting the log",
        "events a second, one process",
        (
            Group("status: Redis", (*_STATUS, _READ)),
            Group("rows and history: PostgreSQL", (*_ROWS, _SENT_AGAIN)),
        ),
    ),
    "polling": Plot(
        "Polling a job's progress",
        "requests a second, one serving process, 64 connections",
        (Group("the same answers for the same jobs", _POLLS),),
    ),
    "cpu": Plot(
        "CPU time of one event",
        "microseconds",
        (Group("status: Redis", _STATUS), Group("rows and history: PostgreSQL", _ROWS)),
        cpu=True,
    ),
}


class Theme(NamedTuple):
    """Colors on a page, whose background is visible."""

    text: str
    product: str
    peer: str
    limit: str
    parts: tuple[str, str, str]
    """The colors of CPU time: of the process, Redis and PostgreSQL."""


THEMES = {
    "light": Theme("#1f2328", "#0969da", "#8c959f", "#d0d7de", ("#0969da", "#cf222e", "#8250df")),
    "dark": Theme("#e6edf3", "#4493f8", "#7d8590", "#3d444d", ("#4493f8", "#f85149", "#a371f7")),
}
_PARTS = {"python": "the process", "redis": "Redis", "postgres": "PostgreSQL"}

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: small files, and they can be searched
    "svg.hashsalt": "jobtrail",  # the same results give the same file
}
_WIDTH, _HEAD, _A_BAR = 8.0, 1.25, 0.32
"""The sizes of a plot, of its title and axis, and of each bar, in inches."""


def draw(results: Path, folder: Path) -> list[Path]:
    """Draw every plot that has measured figures; return the files."""
    content = orjson.loads(results.read_bytes())
    figures = {figure["key"]: figure for figure in content["figures"] if figure["key"]}
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, plot in ALL.items():
        measured = _measured(plot, figures)
        keys = {bar.key for group in measured.groups for bar in group.bars}
        note = _note(content, [figures[key] for key in keys])
        for theme in THEMES if keys else ():
            path = folder / f"{name}-{theme}.svg"
            files.append(_save(path, measured, figures, note, THEMES[theme]))
    return files


def _measured(plot: Plot, figures: Figures) -> Plot:
    """Leave out the bars that were not measured."""
    groups = (
        Group(group.title, [bar for bar in group.bars if bar.key in figures])
        for group in plot.groups
    )
    return plot._replace(groups=[group for group in groups if group.bars])


def _note(content: Mapping[str, Any], figures: Iterable[Mapping[str, Any]]) -> str:
    """Write when and on what machine the figures were measured, and whether they are in doubt."""
    facts = content["machine"]
    note = (
        f"{content['at'][:10]}, {facts['cores']} cores ({facts['machine']}), Python"
        f" {facts['python']}, Redis {facts['redis']}, PostgreSQL {facts['postgres']}"
    )
    if content["scale"] != 1:
        note += f", scale {content['scale']:g}"
    if any(figure["doubt"] for figure in figures):
        note += "\nThe machine was too busy for these figures to be believed."
    return note


def _save(path: Path, plot: Plot, figures: Figures, note: str, theme: Theme) -> Path:
    colors: dict[Any, Any] = dict.fromkeys(("text.color", "xtick.color", "ytick.color"), theme.text)
    with mpl.rc_context({**_STYLE, **colors}):
        bars = sum(len(group.bars) + 1 for group in plot.groups)
        canvas = Canvas(figsize=(_WIDTH, _HEAD + _A_BAR * bars), layout="constrained")
        axes = canvas.add_subplot()
        _draw_bars(axes, plot, figures, theme)
        axes.set_title(plot.title, loc="left", fontweight="bold")
        axes.set_xlabel(plot.axis, color=theme.text, fontsize=9, loc="left")
        canvas.supxlabel(note, x=0.01, ha="left", fontsize=8)
        canvas.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    return path


def _draw_bars(axes: Axes, plot: Plot, figures: Figures, theme: Theme) -> None:
    labels: dict[float, str] = {}
    for place, bar in _places(axes, plot):
        labels[place] = bar.label
        figure = figures[bar.key]
        parts = _cpu_of(bar, figure) if plot.cpu else {_side_of(bar): _rate_of(bar, figure)}
        left = 0.0
        for name, value in parts.items():
            axes.barh(place, value, left=left, height=0.72, color=_color(theme, name))
            left += value
        axes.annotate(
            f"{left:,.0f}",
            (left, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    _draw_axes(axes, labels, theme)
    if plot.cpu:
        _draw_legend(axes, theme)


def _draw_axes(axes: Axes, labels: Mapping[float, str], theme: Theme) -> None:
    axes.set_yticks(list(labels), list(labels.values()))
    axes.set_ylim(max(labels) + 0.6, -0.6)
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(length=0, labelsize=9)
    axes.grid(axis="x", color=theme.limit, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _draw_legend(axes: Axes, theme: Theme) -> None:
    for name, label in _PARTS.items():
        axes.barh(0, 0, color=_color(theme, name), label=label)
    axes.legend(
        frameon=False, fontsize=9, ncols=len(_PARTS), loc="lower right", bbox_to_anchor=(1, 1)
    )


def _places(axes: Axes, plot: Plot) -> Iterator[tuple[float, Bar]]:
    """Write the title of each group, and yield its bars with their coordinates on the axis."""
    place = 0.0
    for group in plot.groups:
        axes.text(0, place, group.title, va="center", fontsize=9, fontweight="bold")
        for bar in group.bars:
            place += 1
            yield place, bar
        place += 1


def _side_of(bar: Bar) -> str:
    return PRODUCT if bar.side == PRODUCT else "raw_limit" if bar.raw_limit else "peer"


def _rate_of(bar: Bar, figure: Mapping[str, Any]) -> float:
    at = 0 if bar.side == PRODUCT else 1
    rates: list[float] = [pair[at] for pair in figure["rounds"]]
    return median(rates)


def _cpu_of(bar: Bar, figure: Mapping[str, Any]) -> Mapping[str, float]:
    spent: Mapping[str, float] = figure["cpu_us" if bar.side == PRODUCT else "limit_cpu_us"]
    return spent


def _color(theme: Theme, part: str) -> str:
    sides = {PRODUCT: theme.product, "peer": theme.peer, "raw_limit": theme.limit}
    return {**sides, **dict(zip(_PARTS, theme.parts, strict=True))}[part]
