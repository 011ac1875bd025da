"""Runs of ffmpeg with reports of its progress, and the parser for `ffmpeg -progress pipe:1`.

The output consists of blocks of key=value lines. A block ends with `progress=continue` or
`progress=end`. Any value can be `N/A`, also in the middle of a run. The parser never raises: a line
that it does not understand is ignored. Used by `workers.video.rendering`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.confinement import Caps
from workers.video.ffmpeg.process import STALL_SECONDS, Argument, ffmpeg_command, run

_MICROSECONDS = 1_000_000
# Fields that grow while ffmpeg works. A block in which none has changed does not count as progress.
_GROWING = ("frame", "out_time_us", "total_size")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of one run: `seconds` of output, at `speed` times real time if that is known."""

    seconds: float
    speed: float | None
    ended: bool

    def fraction(self, duration: float) -> float:
        """Return the fraction of `duration` seconds that is done, from 0 to 1."""
        if self.ended:
            return 1.0
        return min(1.0, self.seconds / duration) if duration > 0 else 0.0

    def remaining_seconds(self, duration: float) -> int | None:
        """Return the estimated remaining seconds for `duration`; None before the speed is known."""
        if self.ended:
            return 0
        if self.speed is None:
            return None
        left = max(0.0, duration - self.seconds) / self.speed
        return math.ceil(left) if math.isfinite(left) else None


class ProgressParser:
    """The state of the parser; `seconds` never decreases, and the last known speed is kept."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}
        self._seconds = 0.0
        self._speed: float | None = None

    def feed(self, line: str) -> Progress | None:
        """Parse one line; return the progress if the line ends a block."""
        key, separator, value = line.strip().partition("=")
        if not separator:
            return None
        if key != "progress":
            self._fields[key] = value.strip()
            return None
        microseconds = _number(self._fields.get("out_time_us", ""))
        self._seconds = max(self._seconds, (microseconds or 0.0) / _MICROSECONDS)
        speed = _number(self._fields.get("speed", "").removesuffix("x"))
        if speed is not None and speed > 0:
            self._speed = speed
        return Progress(self._seconds, self._speed, value == "end")

    def growing_values(self) -> tuple[str | None, ...]:
        """Return the values of the fields that grow while ffmpeg works."""
        return tuple(self._fields.get(key) for key in _GROWING)


def run_with_progress(
    arguments: Sequence[Argument],
    on_progress: Callable[[Progress], object],
    *,
    cwd: Path,
    stall_seconds: float = STALL_SECONDS,
    report_seconds: float | None = None,
    caps: Caps | None = None,
) -> str:
    """Run ffmpeg and return the end of its standard error.

    `on_progress` is called every `report_seconds` (None: ffmpeg's default of half a second). ffmpeg
    is ended if no figure in its reports has grown for `stall_seconds`. `caps` are the limits on its
    resources.

    Raises:
        FfmpegError: it failed, stalled or is missing.
    """
    parser = ProgressParser()
    last: tuple[str | None, ...] = ()

    def on_line(line: str) -> bool:
        """Handle a line of output; return True if it shows that ffmpeg works."""
        nonlocal last
        if (progress := parser.feed(line)) is None:
            return False
        before, last = last, parser.growing_values()
        on_progress(progress)
        return last != before

    period = () if report_seconds is None else ("-stats_period", str(report_seconds))
    command = ffmpeg_command("-progress", "pipe:1", *period, *arguments)
    return run(command, cwd=cwd, on_line=on_line, stall_seconds=stall_seconds, caps=caps)


def _number(text: str) -> float | None:
    """Return a finite number, or None for any other text, such as `N/A`."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
