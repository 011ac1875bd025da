"""The streams of a media file, from ffprobe if it is on PATH, otherwise from `ffmpeg -i`.

Used by `workers.video.rendering`, and for its types by `workers.video.hls` and
`workers.video.ffmpeg.filters`, and also by `workers.video.checks`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from workers.video.error import VideoError
from workers.video.ffmpeg.process import (
    FfmpegCapped,
    FfmpegFailed,
    ffmpeg_command,
    find_ffprobe,
    run,
)
from workers.video.ffmpeg.source import SOURCE_GUARD, caps

_STREAM = re.compile(r"^ {2,4}Stream #0:(?=\d)", re.MULTILINE)
_KIND = re.compile(r"(\d{1,6})[^:\n]*: (Video|Audio): ([^\n]*)")
_SIZE = re.compile(r", (\d{1,6})x(\d{1,6})")
_MOST_STREAMS = re.compile(r"exceeds max_streams(?: parameter)? \((\d+)\)")
_MOST_PIXELS = re.compile(r"Picture size (\d+)x(\d+) exceeds specified max pixel count")
_COLOURS = re.compile(r", [a-z][a-z0-9]+\(([^()]*)\)")
_ASPECT = re.compile(r"\bSAR (\d{1,9}):(\d{1,9})")
_ROTATION = re.compile(r"rotation of (-?\d{1,4})")
_DURATION = re.compile(r"^ {2}Duration: (\d{1,9}):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_START = re.compile(r"^ {2}Duration: [^\n]*?, start: (-?\d+\.\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Video:
    """A video stream; the size is in square pixels, after rotation."""

    index: int
    width: int
    height: int
    matrix: str = ""
    primaries: str = ""
    transfer: str = ""
    """The colour description in ffmpeg's terms; empty if the file has none."""
    interlaced: bool = False
    pixels: int = field(default=0, compare=False)
    """The number of pixels that are decoded for one picture."""


@dataclass(frozen=True, slots=True)
class Media:
    """The streams of a file; `duration`, in seconds, is None if the file does not state it.

    `start` is the time of the first packet, which need not be 0. Of several streams of one type,
    the default one comes first; the others are used if it cannot be decoded.
    """

    duration: float | None
    video: Video | None
    audio_index: int | None
    start: float = 0.0
    other_videos: tuple[Video, ...] = ()
    other_audio: tuple[int, ...] = ()

    @property
    def videos(self) -> tuple[Video, ...]:
        """All video streams, the preferred one first."""
        return (self.video, *self.other_videos) if self.video else ()

    @property
    def audio(self) -> tuple[int, ...]:
        """The indices of all audio streams, the preferred one first."""
        return () if self.audio_index is None else (self.audio_index, *self.other_audio)


def probe(file: str, *, cwd: Path, stall_seconds: float) -> Media:
    """Return the streams of `file`, a name in `cwd`.

    Raises:
        VideoError: it is a playlist, or not a media file.
        FfmpegError: ffmpeg cannot read it (the message is its reason), stalled or is missing.
    """
    reader = _by_ffprobe if find_ffprobe() else _by_ffmpeg
    try:
        media, complaints = reader(file, cwd, stall_seconds)
    except (FfmpegFailed, FfmpegCapped) as error:
        raise _refusal(error.stderr) or error from None
    # Some containers are read without the streams beyond the limit.
    if (media.video is None or _MOST_STREAMS.search(complaints)) and (
        refusal := _refusal(complaints)
    ):
        raise refusal
    return media


def _refusal(complaints: str) -> VideoError | None:
    """Return the error if ffmpeg reports that `SOURCE_GUARD` forbids the source, or None."""
    if "not on whitelist" in complaints:
        return VideoError(
            "not an accepted media format (playlists and lists that name other files are refused)",
            code="format",
        )
    if most := _MOST_STREAMS.search(complaints):
        return VideoError(f"holds more than {most[1]} streams", code="too_large")
    if size := _MOST_PIXELS.search(complaints):
        return too_many_pixels(int(size[1]), int(size[2]))
    return None


def too_many_pixels(width: int, height: int) -> VideoError:
    """Return the error for pictures that take too much memory to decode."""
    return VideoError(
        f"has pictures of {width} × {height} pixels, and no more than 8192 × 4320 are encoded",
        code="too_large",
    )


def decodes(file: str, index: int, *, cwd: Path, stall_seconds: float) -> bool:
    """Return whether ffmpeg can decode a picture or sound of a stream; it stops after the first.

    Raises:
        FfmpegError: ffmpeg stalled, exceeded its limits or is missing.
    """
    found = False

    def look(line: str) -> bool:
        nonlocal found
        found |= bool(line) and not line.startswith("#")
        return True

    one = ("-map", f"0:{index}", "-frames", "1", "-f", "framecrc", "pipe:1")
    command = ffmpeg_command(*SOURCE_GUARD, "-i", f"file:{file}", *one)
    with suppress(FfmpegFailed):
        run(command, cwd=cwd, on_line=look, stall_seconds=stall_seconds, caps=caps())
    return found


def parse_ffprobe(document: Mapping[str, Any]) -> Media:
    """Parse the output of `ffprobe -of json -show_format -show_streams`."""
    found = _Found()
    for stream in document.get("streams", ()):
        default = bool(stream.get("disposition", {}).get("default"))
        if stream.get("codec_type") == "video":
            found.add_video(_ffprobe_video(stream), default=default)
        elif stream.get("codec_type") == "audio":
            found.add_audio(stream["index"], default=default)
    times = document.get("format", {})
    seconds, start = times.get("duration"), times.get("start_time")
    return found.media(float(seconds) if seconds else None, float(start or 0))


def parse_ffmpeg(text: str) -> Media:
    """Parse the standard error of `ffmpeg -i`."""
    found = _Found()
    for section in _STREAM.split(text)[1:]:
        if (kind := _KIND.match(section)) is None:
            continue
        default = "(default)" in kind[3]
        if kind[2] == "Video":
            found.add_video(_ffmpeg_video(int(kind[1]), kind[3], section), default=default)
        else:
            found.add_audio(int(kind[1]), default=default)
    start = _START.search(text)
    return found.media(_clock(_DURATION.search(text)), float(start[1]) if start else 0.0)


class _Found:
    """The streams of each type, in the order to try them: default ones first."""

    def __init__(self) -> None:
        self._videos: list[tuple[bool, int, Video]] = []
        self._audio: list[tuple[bool, int]] = []

    def add_video(self, video: Video | None, *, default: bool) -> None:
        if video is not None:
            self._videos.append((not default, video.index, video))

    def add_audio(self, index: int, *, default: bool) -> None:
        self._audio.append((not default, index))

    def media(self, duration: float | None, start: float) -> Media:
        videos = [video for *_, video in sorted(self._videos, key=lambda each: each[:2])]
        audio = [index for _, index in sorted(self._audio)]
        return Media(
            duration,
            videos[0] if videos else None,
            audio[0] if audio else None,
            start,
            tuple(videos[1:]),
            tuple(audio[1:]),
        )


def _by_ffprobe(file: str, cwd: Path, stall_seconds: float) -> tuple[Media, str]:
    shown = ("-of", "json", "-show_format", "-show_streams")
    command = [find_ffprobe() or "ffprobe", "-hide_banner", "-loglevel", "error", *SOURCE_GUARD]
    lines: list[str] = []

    def collect(line: str) -> bool:
        lines.append(line)
        return True

    complaints = run(
        [*command, *shown, "-i", f"file:{file}"],
        cwd=cwd,
        on_line=collect,
        stall_seconds=stall_seconds,
        caps=caps(),
    )
    return parse_ffprobe(json.loads("\n".join(lines))), complaints


def _by_ffmpeg(file: str, cwd: Path, stall_seconds: float) -> tuple[Media, str]:
    command = ffmpeg_command(*SOURCE_GUARD, "-i", f"file:{file}", loglevel="info")
    try:
        text = run(command, cwd=cwd, stall_seconds=stall_seconds, caps=caps())
    except FfmpegFailed as error:
        # Without an output file, ffmpeg always ends with an error, after describing the input.
        if "\nInput #0, " not in f"\n{error.stderr}":
            raise
        text = error.stderr
    return parse_ffmpeg(text), text


def _ffprobe_video(stream: Mapping[str, Any]) -> Video | None:
    if stream.get("disposition", {}).get("attached_pic"):
        return None
    turns = [side["rotation"] for side in stream.get("side_data_list", ()) if "rotation" in side]
    aspect = re.fullmatch(r"(\d+):(\d+)", stream.get("sample_aspect_ratio", ""))
    size = (stream.get("width", 0), stream.get("height", 0))
    shown = _shown(size, _ratio(aspect), turns[0] if turns else 0)
    if shown is None:
        return None
    names = ("color_space", "color_primaries", "color_transfer")
    matrix, primaries, transfer = (_known(stream.get(name, "")) for name in names)
    interlaced = stream.get("field_order", "unknown") not in {"progressive", "unknown"}
    pixels = size[0] * size[1]
    return Video(stream["index"], *shown, matrix, primaries, transfer, interlaced, pixels)


def _ffmpeg_video(index: int, line: str, section: str) -> Video | None:
    size = _SIZE.search(line)
    if size is None or "(attached pic)" in line:
        return None
    rotation = _ROTATION.search(section)
    pixels = (int(size[1]), int(size[2]))
    aspect = _ratio(_ASPECT.search(line))
    shown = _shown(pixels, aspect, int(rotation[1]) if rotation else 0)
    if shown is None:
        return None
    words = _COLOURS.search(line[: size.start()] + ",")
    described = [word.strip() for word in words[1].split(",")] if words else []
    interlaced = any(word.endswith((" first", "(swapped)")) for word in described)
    return Video(index, *shown, *_colours(described), interlaced, pixels[0] * pixels[1])


def _colours(words: Sequence[str]) -> tuple[str, str, str]:
    """Parse matrix, primaries and transfer, which are one word if all three are equal."""
    for word in words:
        parts = [_known(part) for part in word.split("/")]
        if len(parts) == 3:
            return parts[0], parts[1], parts[2]
        if re.fullmatch(r"(bt|smpte|gbr|fcc|ycgco|film|iec|arib|log|gamma)\S*", word):
            return (word, word, word)
    return ("", "", "")


def _known(word: str) -> str:
    return "" if word in {"unknown", "unspecified", "reserved"} else word


def _shown(size: tuple[int, int], aspect: Fraction, rotation: float) -> tuple[int, int] | None:
    width, height = round(size[0] * aspect), size[1]
    if width < 1 or height < 1:
        return None
    sideways = round(rotation / 90) % 2 == 1
    return (height, width) if sideways else (width, height)


def _ratio(match: re.Match[str] | None) -> Fraction:
    """Return the aspect ratio of a pixel; unknown (0:1) means square, as in all players."""
    if match is None or 0 in (int(match[1]), int(match[2])):
        return Fraction(1)
    return Fraction(int(match[1]), int(match[2]))


def _clock(match: re.Match[str] | None) -> float | None:
    if match is None:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
