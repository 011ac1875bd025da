"""One video on its way through ffmpeg, inside its work directory. Durations are in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from workers import hls
from workers.ffmpeg import STALL_SECONDS, FfmpegFailed, reason
from workers.ffmpeg_probe import Media, Video, measure, probe
from workers.ffmpeg_progress import Progress, run_with_progress
from workers.video_error import VideoError
from workers.video_steps import Tick

_FOLDER = "hls"


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the worker is with ffmpeg, in seconds.

    It is ended after `stall_seconds` without progress, and reports every `report_seconds` (None:
    its own half second).
    """

    stall_seconds: float = STALL_SECONDS
    report_seconds: float | None = None


@dataclass(slots=True)
class Rendering:
    """A source in its work directory and what is known of it; call the methods in their order.

    Every method raises VideoError for a video that cannot be encoded, and FfmpegError for an ffmpeg
    that failed, stalled or is missing.
    """

    work: Path
    source: str
    limits: Limits
    media: Media = field(init=False)
    video: Video = field(init=False)
    duration: float = field(init=False)
    _complaints: str = field(init=False, default="")

    @property
    def folder(self) -> Path:
        """Where the playlists and segments are made."""
        return self.work / _FOLDER

    def probe(self) -> None:
        """Find the streams and the duration."""
        patience = self.limits.stall_seconds
        self.media = probe(self.source, cwd=self.work, stall_seconds=patience)
        if self.media.video is None:
            raise VideoError("holds no video stream that can be read", code="no_video")
        self.video = self.media.video
        self.duration = self.media.duration or measure(
            self.source, self.video, cwd=self.work, stall_seconds=patience
        )
        if self.duration <= 0:
            raise VideoError("holds no pictures", code="no_video")

    def transcode(self, tick: Tick) -> None:
        """Make all renditions and their playlists."""
        self.folder.mkdir()
        command = hls.transcoding(self.source, self.media, self.video, _FOLDER)
        self._complaints = reason(self._run(command, self._told(tick)))

    def picture(self) -> None:
        """Make the thumbnail: a tenth in, past a black beginning."""
        # Some sound goes on long after the pictures end: then from the beginning after all.
        with suppress(FfmpegFailed):
            self._run(hls.picturing(self.video, min(self.duration / 10, 30.0), _FOLDER))
        if not self._pictured():
            self._run(hls.picturing(self.video, 0.0, _FOLDER))
        if not self._pictured():
            raise VideoError("gave no picture for a thumbnail", code="no_video")

    def _pictured(self) -> bool:
        picture = self.folder / hls.THUMBNAIL
        return picture.is_file() and picture.stat().st_size > 0

    def validate(self, tick: Tick) -> None:
        """Play the result to its end; it must last as long as the source says it does."""
        found = 0.0

        def note(progress: Progress) -> None:
            nonlocal found
            found = progress.seconds
            self._told(tick)(progress)

        try:
            self._run(hls.reading_back(_FOLDER), note)
        except FfmpegFailed as error:
            raise VideoError(f"the result does not play: {error}", code="invalid") from error
        self._compare(found)

    def _compare(self, found: float) -> None:
        # Some containers count their duration from zero though they start later.
        for expected in (self.duration, self.duration - self.media.start):
            if abs(found - expected) <= max(1.0, 0.02 * expected):
                self.duration = expected
                return
        because = f": {self._complaints}" if self._complaints else ""
        raise VideoError(
            f"{found:.1f} s of {self.duration:.1f} s came through{because}", code="invalid"
        )

    def _told(self, tick: Tick) -> Callable[[Progress], None]:
        return lambda progress: tick(
            progress.fraction(self.duration), progress.remaining_seconds(self.duration)
        )

    def _run(
        self, arguments: Sequence[str], on_progress: Callable[[Progress], object] = lambda _: None
    ) -> str:
        return run_with_progress(
            arguments,
            on_progress,
            cwd=self.work,
            stall_seconds=self.limits.stall_seconds,
            report_seconds=self.limits.report_seconds,
        )
