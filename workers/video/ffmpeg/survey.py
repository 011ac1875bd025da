"""The timeline of a source, from one pass over its packets without decoding.

The durations and frame rates that containers state may be wrong: another track is longer, the clock
was restarted, a browser wrote 1,000 frames per second. Players follow the times of the packets, as
ffmpeg corrects them for every output. Times are in seconds. Used by `workers.video.checks`,
`workers.video.ffmpeg.filters`, `workers.video.hls` and `workers.video.rendering`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from workers.video.ffmpeg.process import FfmpegFailed, ffmpeg_command, run
from workers.video.ffmpeg.source import SOURCE_GUARD, caps

LEAST_RATE = 5
MOST_RATE = 60
# HLS rounds to whole seconds: a shorter playlist has a target duration of 0, which is not played.
_LEAST_SECONDS = 1
_USUAL_RATE = Fraction(25)
_STANDARD_RATES = tuple(
    Fraction(rate)
    for rate in (10, 12, 15, 20, "24000/1001", 24, 25, "30000/1001", 30, 48, 50, "60000/1001", 60)
)
_UNKNOWN_TIME = -(2**63)
# ffmpeg's flag of a packet that is decoded but not shown, because of an edit list.
_DISCARD = 0x4
# Enough to determine the frame rate of any video.
_MOST_TIMES = 50_000


@dataclass(frozen=True, slots=True)
class Timeline:
    """The start of a source, its length, and the frame rate to encode at."""

    start: float
    seconds: float
    rate: Fraction
    complaints: str = ""
    """The text that ffmpeg wrote to standard error."""


@dataclass(slots=True)
class _Track:
    """The times of one stream's packets, in its time base."""

    base: Fraction = Fraction(1)
    start: int | None = None
    end: int | None = None
    last_duration: int = 0
    times: list[int] = field(default_factory=list)

    def add(self, time: int, duration: int) -> None:
        self.start = time if self.start is None else min(self.start, time)
        if self.end is None or time + duration >= self.end:
            self.end, self.last_duration = time + max(0, duration), duration
        if len(self.times) < _MOST_TIMES:
            self.times.append(time)


def survey(
    file: str, video: int, audio: int | None, *, cwd: Path, stall_seconds: float
) -> Timeline | None:
    """Return the timeline of two streams of `file`, a name inside `cwd`; None without a picture.

    Raises:
        FfmpegError: ffmpeg stalled, exceeded its limits or is missing.
    """
    chosen = [f"0:{index}" for index in (video, audio) if index is not None]
    copying = [*(part for each in chosen for part in ("-map", each)), "-c", "copy"]
    # Packets before the first keyframe and before time 0 count too.
    everything = ["-copyinkf", "-copypriorss", "1", "-f", "framecrc", "pipe:1"]
    command = ffmpeg_command(*SOURCE_GUARD, "-i", f"file:{file}", *copying, *everything)
    reader = _Reader()
    try:
        complaints = run(command, cwd=cwd, on_line=reader, stall_seconds=stall_seconds, caps=caps())
    except FfmpegFailed as error:
        # For a file that is damaged near its end, the times up to there are known.
        complaints = error.stderr
    return reader.timeline(complaints)


class _Reader:
    """The parser for ffmpeg's `framecrc` lines; stream 0 is the video, stream 1 the audio."""

    def __init__(self) -> None:
        self._tracks = {0: _Track(), 1: _Track()}

    def __call__(self, line: str) -> bool:
        if line.startswith("#tb "):
            number, _, base = line.removeprefix("#tb ").partition(":")
            self._tracks[int(number)].base = Fraction(base.strip())
        elif not line.startswith("#") and line:
            self._packet(line.split(","))
        return True

    def _packet(self, fields: list[str]) -> None:
        stream, dts, pts, duration = (int(each) for each in fields[:4])
        flags = fields[6].strip() if len(fields) > 6 else ""
        if flags.startswith("F=") and int(flags[2:], 16) & _DISCARD:
            return
        time = dts if pts == _UNKNOWN_TIME else pts
        if time != _UNKNOWN_TIME:
            self._tracks[stream].add(time, duration)

    def timeline(self, complaints: str) -> Timeline | None:
        video, audio = self._tracks[0], self._tracks[1]
        if video.start is None or video.end is None:
            return None
        start, end = video.start * video.base, video.end * video.base
        rate = frame_rate([float(time * video.base) for time in video.times])
        if video.last_duration <= 0:
            # A container without durations: the last picture is shown as long as the others.
            end += 1 / rate
        if audio.start is not None and audio.end is not None:
            start, end = min(start, audio.start * audio.base), max(end, audio.end * audio.base)
        playing = playing_rate(rate)
        seconds = max(end - start, Fraction(_LEAST_SECONDS))
        return Timeline(float(start), float(seconds), playing, complaints)


def frame_rate(times: list[float]) -> Fraction:
    """Return the frame rate of pictures at `times`, rounded to a standard rate that is near.

    Long gaps are ignored: a screen recording has new pictures only where something moved, and a
    clock may pause or jump.
    """
    ordered = sorted(set(times))
    gaps = sorted(after - before for before, after in pairwise(ordered))
    if not gaps:
        return _USUAL_RATE
    quick = gaps[len(gaps) // 5]
    # Only the mean of rounded times (33, 33, 34 ms) is exact.
    steady = [gap for gap in gaps if 0.5 * quick <= gap <= 1.5 * quick]
    rate = len(steady) / sum(steady)
    nearest = min(_STANDARD_RATES, key=lambda standard: abs(standard - rate))
    if abs(float(nearest) - rate) <= 0.01 * rate:
        return nearest
    return Fraction(rate).limit_denominator(1001) or Fraction(rate)


def playing_rate(rate: Fraction) -> Fraction:
    """Return the rate to encode at: an integer part of a high rate, a multiple of a low one."""
    if rate > MOST_RATE:
        return rate / -(-rate // MOST_RATE)
    if rate < LEAST_RATE:
        return rate * -(-LEAST_RATE // rate)
    return rate
