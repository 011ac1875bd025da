"""What is in a media file: by ffprobe where it is on PATH, else by reading `ffmpeg -i`.

Sources are hostile until proven otherwise. A playlist or a concat list is a "video" that makes
ffmpeg open other files or the network, so that every command that reads a source carries
`SOURCE_GUARD`: media containers only, and no protocol but files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from workers.ffmpeg import FfmpegFailed, ffmpeg_command, find_ffprobe, run
from workers.ffmpeg_progress import Progress, run_with_progress
from workers.video_error import VideoError

# Containers, and bare audio that is let in only to be told that it has no video.
_DEMUXERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,obu,flv,live_flv,asf,ogg,mxf,gxf,nut"
    ",dv,rm,wtv,mp3,wav,flac,aac,aiff"
)
SOURCE_GUARD = ("-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS)

_STREAM = re.compile(r"^ {2,4}Stream #0:(?=\d)", re.MULTILINE)
_KIND = re.compile(r"(\d{1,6})[^:\n]*: (Video|Audio): ([^\n]*)")
_SIZE = re.compile(r", (\d{1,6})x(\d{1,6})")
_ASPECT = re.compile(r"\bSAR (\d{1,9}):(\d{1,9})")
_ROTATION = re.compile(r"rotation of (-?\d{1,4})")
_DURATION = re.compile(r"^ {2}Duration: (\d{1,9}):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_START = re.compile(r"^ {2}Duration: [^\n]*?, start: (-?\d+\.\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Video:
    """A stream of pictures; the size is as shown, in square pixels and after rotation."""

    index: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Media:
    """What a file holds; `duration` in seconds is None where the file does not say.

    `start` is the time of its first moment, which need not be 0.
    """

    duration: float | None
    video: Video | None
    audio_index: int | None
    start: float = 0.0


def probe(file: str, *, cwd: Path, stall_seconds: float) -> Media:
    """Look into `file`, a name inside `cwd`.

    Raises:
        VideoError: it is a playlist or no media at all.
        FfmpegError: ffmpeg cannot read it (the message is its reason), stalled or is missing.
    """
    reader = _by_ffprobe if find_ffprobe() else _by_ffmpeg
    try:
        return reader(file, cwd, stall_seconds)
    except FfmpegFailed as error:
        if "not on whitelist" not in error.stderr:
            raise
        raise VideoError(
            "not an accepted media format (playlists and lists that name other files are refused)",
            code="format",
        ) from None


def measure(file: str, video: Video, *, cwd: Path, stall_seconds: float) -> float:
    """Give the seconds of `video` by decoding all of it, for files that do not say.

    Reading packets alone would be faster, but a bare stream's packets carry no times.

    Raises:
        FfmpegError: it failed, stalled or is missing.
    """
    decoding = (*SOURCE_GUARD, "-i", f"file:{file}", "-map", f"0:{video.index}", "-f", "null", "-")
    latest = 0.0

    def note(progress: Progress) -> None:
        nonlocal latest
        latest = progress.seconds

    run_with_progress(decoding, note, cwd=cwd, stall_seconds=stall_seconds)
    return latest


def parse_ffprobe(document: Mapping[str, Any]) -> Media:
    """Read what `ffprobe -of json -show_format -show_streams` wrote."""
    video: Video | None = None
    audio: int | None = None
    for stream in document.get("streams", ()):
        if video is None and stream.get("codec_type") == "video":
            video = _ffprobe_video(stream)
        elif audio is None and stream.get("codec_type") == "audio":
            audio = stream["index"]
    times = document.get("format", {})
    seconds, start = times.get("duration"), times.get("start_time")
    return Media(float(seconds) if seconds else None, video, audio, float(start or 0))


def parse_ffmpeg(text: str) -> Media:
    """Read what `ffmpeg -i` wrote to standard error."""
    video: Video | None = None
    audio: int | None = None
    for section in _STREAM.split(text)[1:]:
        if (kind := _KIND.match(section)) is None:
            continue
        if video is None and kind[2] == "Video":
            video = _ffmpeg_video(int(kind[1]), kind[3], section)
        elif audio is None and kind[2] == "Audio":
            audio = int(kind[1])
    start = _START.search(text)
    return Media(_clock(_DURATION.search(text)), video, audio, float(start[1]) if start else 0.0)


def _by_ffprobe(file: str, cwd: Path, stall_seconds: float) -> Media:
    shown = ("-of", "json", "-show_format", "-show_streams")
    command = [find_ffprobe() or "ffprobe", "-hide_banner", "-loglevel", "error", *SOURCE_GUARD]
    lines: list[str] = []

    def collect(line: str) -> bool:
        lines.append(line)
        return True

    run(
        [*command, *shown, "-i", f"file:{file}"],
        cwd=cwd,
        on_line=collect,
        stall_seconds=stall_seconds,
    )
    return parse_ffprobe(json.loads("\n".join(lines)))


def _by_ffmpeg(file: str, cwd: Path, stall_seconds: float) -> Media:
    command = ffmpeg_command(*SOURCE_GUARD, "-i", f"file:{file}", loglevel="info")
    try:
        text = run(command, cwd=cwd, stall_seconds=stall_seconds)
    except FfmpegFailed as error:
        # With no output file to write, ffmpeg always ends with an error, after telling all.
        if "\nInput #0, " not in f"\n{error.stderr}":
            raise
        text = error.stderr
    return parse_ffmpeg(text)


def _ffprobe_video(stream: Mapping[str, Any]) -> Video | None:
    if stream.get("disposition", {}).get("attached_pic"):
        return None
    turns = [side["rotation"] for side in stream.get("side_data_list", ()) if "rotation" in side]
    aspect = re.fullmatch(r"(\d+):(\d+)", stream.get("sample_aspect_ratio", ""))
    size = (stream.get("width", 0), stream.get("height", 0))
    return _shown(stream["index"], size, _ratio(aspect), turns[0] if turns else 0)


def _ffmpeg_video(index: int, line: str, section: str) -> Video | None:
    size = _SIZE.search(line)
    if size is None or "(attached pic)" in line:
        return None
    rotation = _ROTATION.search(section)
    pixels = (int(size[1]), int(size[2]))
    return _shown(index, pixels, _ratio(_ASPECT.search(line)), int(rotation[1]) if rotation else 0)


def _shown(index: int, size: tuple[int, int], aspect: Fraction, rotation: float) -> Video | None:
    width, height = round(size[0] * aspect), size[1]
    if width < 1 or height < 1:
        return None
    sideways = round(rotation / 90) % 2 == 1
    return Video(index, *((height, width) if sideways else (width, height)))


def _ratio(match: re.Match[str] | None) -> Fraction:
    """Read a pixel's width by its height; unknown (0:1) is square, like every player has it."""
    if match is None or 0 in (int(match[1]), int(match[2])):
        return Fraction(1)
    return Fraction(int(match[1]), int(match[2]))


def _clock(match: re.Match[str] | None) -> float | None:
    if match is None:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
