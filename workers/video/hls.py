"""The HLS renditions of a video, and ffmpeg's arguments to make and check them.

All paths are names in the work directory, which is ffmpeg's working directory, so that characters
of other names (`%`, spaces, colons) cannot act in ffmpeg's patterns. Used by
`workers.video.rendering` and `workers.video.encoder`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.video.ffmpeg.filters import audio_filters, colour_filters, video_filters
from workers.video.ffmpeg.probe import Video
from workers.video.ffmpeg.process import Argument
from workers.video.ffmpeg.source import SOURCE_GUARD, THREADS
from workers.video.ffmpeg.survey import Timeline

PLAYLIST = "master.m3u8"
THUMBNAIL = "thumbnail.jpg"
SEGMENT_SECONDS = 4

_SEGMENT = re.compile(r"^#EXTINF:([\d.]+)", re.MULTILINE)
_LARGE = 720
"""The short side, in pixels, of the largest rendition."""
_SMALL = 360
"""The short side, in pixels, of the second rendition and of the thumbnail."""
_LONGEST = 1920
"""The most pixels of a long side. It limits only pictures of more than 8:3, wide or tall."""
_WORTH_TWO = 480
"""The short side of the largest rendition from which a second one saves enough."""
_BITS_PER_PIXEL_SECOND = 3
"""The bits per second that each pixel of a picture adds to the limit of the bit rate."""
_LEAST_BITRATE = 200_000
_AUDIO_BITRATE = 128_000
_BUFFER_SECONDS = 2
"""The seconds of the limit that the encoder may spend at once, beyond the limit: its buffer."""
_MUXING_OVERHEAD = 1.1


@dataclass(frozen=True, slots=True)
class Rendition:
    """One size of the video; both sides are even, as 4:2:0 colour requires."""

    width: int
    height: int

    @property
    def name(self) -> str:
        """The name by the short side (`720p`)."""
        return f"{min(self.width, self.height)}p"

    @property
    def bitrate(self) -> int:
        """The limit of the video in bits per second, as an average over some seconds.

        Below it, the encoder keeps the quality constant.
        """
        return max(_LEAST_BITRATE, self.width * self.height * _BITS_PER_PIXEL_SECOND)


def renditions(video: Video) -> tuple[Rendition, ...]:
    """Return the one or two renditions, the largest first; none is larger than the source."""
    large = fitted(video, _LARGE)
    is_worth_two = min(large.width, large.height) >= _WORTH_TWO
    return (large, fitted(video, _SMALL)) if is_worth_two else (large,)


def fitted(video: Video, short_side: int) -> Rendition:
    """Return the rendition with a short side of so many pixels, and the shape of the source.

    It is smaller where it would be larger than the source, or its long side than `_LONGEST`.
    """
    short, long = sorted((video.width, video.height))
    scale = min(1.0, short_side / short, _LONGEST / long)
    return Rendition(_even(video.width * scale), _even(video.height * scale))


@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen streams of a source, and their timeline."""

    source: str
    """The source's name in the work directory."""
    video: Video
    audio_index: int | None
    """The index of the audio stream among all streams of the source; None for a silent video."""
    timeline: Timeline

    @property
    def max_bytes(self) -> int:
        """The size that all renditions together do not exceed."""
        bitrate = sum(each.bitrate + _AUDIO_BITRATE for each in renditions(self.video))
        # At the start of a video, the encoder may spend its buffer.
        seconds = self.timeline.seconds + _BUFFER_SECONDS
        return round(seconds * bitrate / 8 * _MUXING_OVERHEAD)


def transcode_arguments(plan: Plan, folder: str) -> list[Argument]:
    """Return arguments that write all renditions and their master playlist into `folder`."""
    sizes = renditions(plan.video)
    # Of a stream that is mostly damaged, what is readable is encoded: the rate of errors above
    # which ffmpeg fails is 1, all of it.
    reading = [*SOURCE_GUARD, "-max_error_rate", "1", "-i", f"file:{plan.source}"]
    threads = ["-filter_complex_threads", THREADS]
    graph = [*threads, "-filter_complex", _graph(plan, sizes)]
    return [
        *reading,
        *graph,
        *_mapping(plan, sizes),
        *_coding(plan, sizes),
        *_muxing(plan, sizes, folder),
    ]


def thumbnail_arguments(video: Video, at: float, folder: str) -> list[str]:
    """Return arguments that write a JPEG of one of the 25 pictures that follow `at`, in seconds.

    ffmpeg chooses the most representative of them. They are taken from the largest rendition, which
    needs no rotation any more. It is read from its beginning up to `at`: seeking in short playlists
    finds nothing in some versions of ffmpeg.
    """
    playlist = f"file:{folder}/{renditions(video)[0].name}/index.m3u8"
    size = fitted(video, _SMALL)
    # JPEG uses full-range colour; most video has the narrower television range.
    scale = f"scale={size.width}:{size.height}:out_range=full,format=yuvj420p"
    reading = ["-protocol_whitelist", "file", "-i", playlist, "-an"]
    choice = f"trim=start={at:.3f},thumbnail=25,{scale}"
    one = ["-frames:v", "1", "-q:v", "4", "-f", "image2", "-update", "1"]
    return [*reading, "-vf", choice, *one, "-y", f"file:{folder}/{THUMBNAIL}"]


def validation_arguments(folder: str) -> list[str]:
    """Return arguments that decode every rendition to its end and stop at the first error."""
    playlist = f"file:{folder}/{PLAYLIST}"
    guard = ("-protocol_whitelist", "file")
    return ["-xerror", *guard, "-i", playlist, "-map", "0", "-f", "null", "-"]


def playlist_seconds(playlist: Path) -> float:
    """Return the length of a rendition in seconds: the sum of its segments."""
    return sum(float(seconds) for seconds in _SEGMENT.findall(playlist.read_text()))


def _graph(plan: Plan, sizes: Sequence[Rendition]) -> str:
    numbers = range(len(sizes))
    split = f"split={len(sizes)}" + "".join(f"[s{i}]" for i in numbers)
    chains = [f"[0:{plan.video.index}]{video_filters(plan.video, plan.timeline)},{split}"]
    for i, size in enumerate(sizes):
        chains.append(f"[s{i}]{colour_filters(plan.video, size.width, size.height)}[v{i}]")
    if plan.audio_index is not None:
        split = f"asplit={len(sizes)}" + "".join(f"[a{i}]" for i in numbers)
        chains.append(f"[0:{plan.audio_index}]{audio_filters(plan.timeline)},{split}")
    return ";".join(chains)


def _mapping(plan: Plan, sizes: Sequence[Rendition]) -> list[str]:
    mapped: list[str] = []
    for i in range(len(sizes)):
        mapped += ["-map", f"[v{i}]"]
        if plan.audio_index is not None:
            mapped += ["-map", f"[a{i}]"]
    # Metadata of the camera (place, owner) must not reach the viewers.
    return [*mapped, "-map_metadata", "-1", "-map_chapters", "-1"]


def _coding(plan: Plan, sizes: Sequence[Rendition]) -> list[str]:
    rate = plan.timeline.rate
    coding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-threads", THREADS]
    coding += ["-r", f"{rate.numerator}/{rate.denominator}"]
    for i, size in enumerate(sizes):
        buffer_bits = _BUFFER_SECONDS * size.bitrate
        coding += [f"-maxrate:v:{i}", str(size.bitrate), f"-bufsize:v:{i}", str(buffer_bits)]
    # Keyframes are exactly at the cuts between segments, in every rendition, so that a player can
    # change between renditions; the encoder adds none by distance (-g) or by scene.
    forced = f"expr:gte(t,n_forced*{SEGMENT_SECONDS})"
    coding += ["-g", "100000", "-sc_threshold", "0", "-force_key_frames", forced]
    return [*coding, "-c:a", "aac", "-b:a", str(_AUDIO_BITRATE)]


def _muxing(plan: Plan, sizes: Sequence[Rendition], folder: str) -> list[str]:
    audio = "" if plan.audio_index is None else ",a:{i}"
    variants = (f"v:{i}{audio.format(i=i)},name:{size.name}" for i, size in enumerate(sizes))
    kind = ["-f", "hls", "-hls_time", str(SEGMENT_SECONDS), "-hls_playlist_type", "vod"]
    # Fragmented MP4 has less overhead than MPEG-TS, and no time offset.
    kind += ["-hls_segment_type", "fmp4"]
    names = ["-hls_segment_filename", f"{folder}/%v/%05d.m4s", "-master_pl_name", PLAYLIST]
    flags = ["-hls_flags", "independent_segments", "-var_stream_map", " ".join(variants)]
    return [*kind, *names, *flags, f"{folder}/%v/index.m3u8"]


def _even(length: float) -> int:
    return max(2, round(length) // 2 * 2)
