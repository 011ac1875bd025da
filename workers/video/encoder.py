"""The encoding of one video to HLS, in seven reported steps.

The source is linked into a work directory, probed and transcoded; a thumbnail is made, and the
result is decoded to its end. Then it is published by one rename, as
`output_dir/tenant/video/attempt/`. A run that fails or is interrupted leaves no files. Durations
are in seconds. Used by `ops.tasks.video_encoding` and `ops.tasks.demo`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.keys import JOB_ID, TENANT
from workers.video import hls
from workers.video.checks import check_exists, check_source
from workers.video.error import SourceMissing, VideoError
from workers.video.ffmpeg.process import FfmpegError, find_ffmpeg, printable
from workers.video.rendering import Limits, Rendering
from workers.video.steps import STEPS, JobReporter, StepReport
from workers.video.workspace import link_or_copy, publish, workspace

__all__ = [
    "STEPS",
    "Encoded",
    "JobReporter",
    "Limits",
    "SourceMissing",
    "VideoError",
    "encode",
]

# The source's name in the work directory, which its owner does not know.
_WORK_NAME = re.compile(r"file:source(\.[A-Za-z0-9]+)?(: )?")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A published video: the absolute path of its master playlist, its length in seconds."""

    hls_path: str
    duration: int


_DEFAULT_LIMITS = Limits()


def encode(
    source: Path,
    *,
    tenant: str,
    video_id: str,
    output_dir: Path,
    reporter: JobReporter,
    attempt: int = 1,
    limits: Limits = _DEFAULT_LIMITS,
) -> Encoded:
    """Transcode `source` to HLS, reporting its seven steps and its end.

    A run with the same attempt replaces the earlier result. KeyboardInterrupt ends ffmpeg, removes
    the unfinished result, and is reported by the reporter's block, like every unexpected error. The
    caller decides how signals are handled: if SIGINT is ignored, as in the background of a script,
    Ctrl-C has no effect. ffmpeg runs in another process group, and only this function ends it.

    Raises:
        VideoError: the video cannot be encoded; the job was reported as failed with the same
            message. Nothing is reported if the tenant, id or attempt is not valid, or if `source`
            does not exist (SourceMissing).
    """
    target = _target(output_dir, tenant, video_id, attempt)
    try:
        check_exists(source)
    except SourceMissing as error:
        raise SourceMissing(Path(printable(source.name))) from error
    with reporter.job(
        video_id, tenant=tenant, kind="video", job_type="hls", attempt=attempt
    ) as job:
        outcome = _outcome(source, output_dir.absolute(), target, StepReport(job), limits)
        if isinstance(outcome, VideoError):
            job.failed(str(outcome), code=outcome.code)
        else:
            job.done({"hls_path": outcome.hls_path, "duration": outcome.duration})
    if isinstance(outcome, VideoError):
        raise outcome
    return outcome


def _outcome(
    source: Path, output_dir: Path, target: Path, steps: StepReport, limits: Limits
) -> Encoded | VideoError:
    """Encode the video; return the error to report if it cannot be encoded."""
    try:
        with _one_line_errors(source):
            return _encoded(source, output_dir, target, steps, limits)
    except VideoError as error:
        return error


def _encoded(
    source: Path, output_dir: Path, target: Path, steps: StepReport, limits: Limits
) -> Encoded:
    with ExitStack() as cleanup:
        with steps.step("presigning"):
            find_ffmpeg()
            check_source(source, output_dir)
            work = cleanup.enter_context(workspace(output_dir))
        with steps.step("downloading") as tick:
            name = link_or_copy(source, work, tick)
        rendering = Rendering(work, name, limits)
        with steps.step("probing"):
            rendering.probe()
        with steps.step("transcoding") as tick:
            rendering.transcode(tick)
        with steps.step("thumbnail"):
            rendering.make_thumbnail()
        with steps.step("validating") as tick:
            rendering.validate(tick)
        with steps.step("publishing"):
            publish(rendering.folder, target)
    return Encoded(str(target / hls.PLAYLIST), round(rendering.duration))


def _target(output_dir: Path, tenant: str, video_id: str, attempt: int) -> Path:
    """Return the folder of the video, after checking the parts of its path."""
    if not TENANT.match(tenant):
        raise VideoError(f"{tenant!r} is not a valid tenant", code="identity")
    if not JOB_ID.match(video_id):
        raise VideoError(f"{video_id!r} is not a valid video id", code="identity")
    if attempt < 1:
        raise VideoError(f"attempt must be at least 1, not {attempt}", code="identity")
    return output_dir.absolute() / tenant / video_id / str(attempt)


@contextmanager
def _one_line_errors(source: Path) -> Iterator[None]:
    """Turn errors of this video into VideoErrors whose line begins with the file's name."""
    try:
        yield
    except (VideoError, FfmpegError) as error:
        raise VideoError(_line(source, str(error)), code=error.code) from error
    except OSError as error:
        where = f" ({Path(error.filename).name})" if isinstance(error.filename, str) else ""
        raise VideoError(_line(source, f"{error.strerror}{where}"), code="io") from error


def _line(source: Path, message: str) -> str:
    return printable(f"{source.absolute().name}: {_WORK_NAME.sub('', message)}")
