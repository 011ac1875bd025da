"""The steps of one video that run ffmpeg, in the video's work directory.

Durations are in seconds. Used by `workers.video.encoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from workers.video import hls
from workers.video.checks import check_room, check_size, check_timeline
from workers.video.error import VideoError
from workers.video.ffmpeg.probe import Media, Video, decodes, probe
from workers.video.ffmpeg.process import STALL_SECONDS, Argument, FfmpegFailed
from workers.video.ffmpeg.progress import Progress, run_with_progress
from workers.video.ffmpeg.source import caps
from workers.video.ffmpeg.survey import survey
from workers.video.steps import Tick

_FOLDER = "hls"


@dataclass(frozen=True, slots=True)
class Limits:
    """The times for ffmpeg, in seconds.

    It is ended after `stall_seconds` without progress, and reports every `report_seconds` (None:
    ffmpeg's default of half a second).
    """

    stall_seconds: float = STALL_SECONDS
    report_seconds: float | None = None


@dataclass(slots=True)
class Rendering:
    """A source in its work directory, and its renditions.

    Call `probe`, `transcode`, `make_thumbnail` and `validate` in this order. Each raises VideoError
    for a video that cannot be encoded, and FfmpegError if ffmpeg failed, stalled or is missing.
    """

    work: Path
    source: str
    limits: Limits
    plan: hls.Plan = field(init=False)
    duration: float = field(init=False)
    """The duration of the playlists in seconds; before they are made, the planned one."""

    @property
    def folder(self) -> Path:
        """The folder of the playlists and segments."""
        return self.work / _FOLDER

    def probe(self) -> None:
        """Choose the streams and measure their timeline."""
        stall_seconds = self.limits.stall_seconds
        media = probe(self.source, cwd=self.work, stall_seconds=stall_seconds)
        video = self._choose_video(media)
        audio = next((index for index in media.audio if self._decodes(index)), None)
        timeline = survey(
            self.source, video.index, audio, cwd=self.work, stall_seconds=stall_seconds
        )
        if timeline is None:
            raise VideoError("holds no pictures", code="no_video")
        check_timeline(timeline, media)
        self.plan = hls.Plan(self.source, video, audio, timeline)
        self.duration = timeline.seconds
        check_room(self.work, self.plan.max_bytes)

    def _choose_video(self, media: Media) -> Video:
        if media.video is None:
            raise VideoError("holds no video stream that can be read", code="no_video")
        for video in media.videos:
            check_size(video)
            if self._decodes(video.index):
                return video
        raise VideoError("holds no pictures that can be decoded", code="no_video")

    def _decodes(self, index: int) -> bool:
        stall_seconds = self.limits.stall_seconds
        return decodes(self.source, index, cwd=self.work, stall_seconds=stall_seconds)

    def transcode(self, tick: Tick) -> None:
        """Make all renditions and their playlists."""
        self.folder.mkdir()
        self._run(hls.transcode_arguments(self.plan, _FOLDER), self._report_to(tick))

    def make_thumbnail(self) -> None:
        """Make the thumbnail from a picture after a tenth of the length, as many begin black."""
        # Some versions of ffmpeg find no picture near the end of a short video.
        with suppress(FfmpegFailed):
            self._run(
                hls.thumbnail_arguments(self.plan.video, min(self.duration / 10, 30.0), _FOLDER)
            )
        if not self._has_thumbnail():
            self._run(hls.thumbnail_arguments(self.plan.video, 0.0, _FOLDER))
        if not self._has_thumbnail():
            raise VideoError("has no picture for a thumbnail", code="no_video")

    def _has_thumbnail(self) -> bool:
        picture = self.folder / hls.THUMBNAIL
        return picture.is_file() and picture.stat().st_size > 0

    def validate(self, tick: Tick) -> None:
        """Decode the result to its end; compare its length with the playlists and the plan."""
        found = 0.0

        def note(progress: Progress) -> None:
            nonlocal found
            found = progress.seconds
            self._report_to(tick)(progress)

        try:
            self._run(hls.validation_arguments(_FOLDER), note)
        except FfmpegFailed as error:
            raise VideoError(f"the result does not play: {error}", code="invalid") from error
        lengths = [hls.playlist_seconds(path) for path in self.folder.glob("*/index.m3u8")]
        for length in (*lengths, found):
            if abs(length - self.duration) > max(1.0, 0.02 * self.duration):
                message = f"{length:.1f} s of {self.duration:.1f} s came through"
                raise VideoError(message, code="invalid")
        self.duration = max(lengths)

    def _report_to(self, tick: Tick) -> Callable[[Progress], None]:
        return lambda progress: tick(
            progress.fraction(self.duration), progress.remaining_seconds(self.duration)
        )

    def _run(
        self,
        arguments: Sequence[Argument],
        on_progress: Callable[[Progress], object] = lambda _: None,
    ) -> str:
        return run_with_progress(
            arguments,
            on_progress,
            cwd=self.work,
            stall_seconds=self.limits.stall_seconds,
            report_seconds=self.limits.report_seconds,
            caps=caps(self.duration),
        )
