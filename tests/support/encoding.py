"""Encoding in tests: a reporter that keeps what it is told, and looks at the result."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from workers.video.encoder import Encoded, VideoError, encode
from workers.video.ffmpeg.process import ffmpeg_command, find_ffprobe, run
from workers.video.rendering import Limits

OFTEN = Limits(report_seconds=0.05)
PICTURE = ("-f", "lavfi", "-i")


@dataclass
class RecordingJob:
    """A job that keeps its reports; `on_progress` may look on or break in."""

    on_progress: Callable[[str, dict[str, Any]], None] = lambda _step, _fields: None
    steps: list[dict[str, Any]] = field(default_factory=list)
    ends: list[tuple[str, Any]] = field(default_factory=list)

    def progress(self, step: str, /, **fields: Any) -> None:
        self.steps.append({"step": step, **fields})
        self.on_progress(step, fields)

    def done(self, result: dict[str, object], /) -> None:
        self.ends.append(("done", result))

    def failed(self, error: str, /, *, code: str) -> None:
        self.ends.append(("failed", (code, error)))

    def of(self, step: str) -> list[dict[str, Any]]:
        return [said for said in self.steps if said["step"] == step]


class RecordingReporter:
    """The reporter's interface as the worker uses it, with its rule for interrupted blocks."""

    def __init__(self, job: RecordingJob) -> None:
        self._job = job
        self.identity: dict[str, Any] = {}

    def job(self, job_id: str, /, **identity: Any) -> AbstractContextManager[RecordingJob]:
        self.identity = {"id": job_id, **identity}
        return self._block()

    @contextmanager
    def _block(self) -> Iterator[RecordingJob]:
        try:
            yield self._job
        except KeyboardInterrupt:
            self._job.ends.append(("cancelled", None))
            raise


def encoded(source: Path, out: Path, job: RecordingJob, limits: Limits = OFTEN) -> Encoded:
    reporter = RecordingReporter(job)
    return encode(
        source, tenant="42", video_id="v:7", output_dir=out, reporter=reporter, limits=limits
    )


def refused(source: Path, out: Path, limits: Limits = OFTEN) -> tuple[str, str]:
    """Encode what cannot be; return code and message after checking that nothing is left."""
    job = RecordingJob()
    with pytest.raises(VideoError) as caught:
        encoded(source, out, job, limits)
    assert job.ends == [("failed", (caught.value.code, str(caught.value)))]
    assert "\n" not in str(caught.value)
    assert left_in(out) == []
    assert ffmpegs() == []
    return caught.value.code, str(caught.value)


def ffmpegs() -> list[psutil.Process]:
    """Return our ffmpeg children; the session's servers are children too."""
    return [child for child in psutil.Process().children() if "ffmpeg" in child.name()]


def left_in(out: Path) -> list[Path]:
    return list(out.iterdir()) if out.exists() else []


def playable_seconds(playlist: str) -> float:
    """Read a playlist to its end with ffmpeg; return the sum of its first variant's segments."""
    run(ffmpeg_command("-xerror", "-i", playlist, "-map", "0", "-f", "null", "-"))
    if probe := find_ffprobe():
        run([probe, "-v", "error", "-show_streams", playlist])
    first = next(line for line in Path(playlist).read_text().splitlines() if "m3u8" in line)
    return sum(segments(Path(playlist).parent / first))


def segments(playlist: Path) -> list[float]:
    return [float(seconds) for seconds in re.findall(r"#EXTINF:([\d.]+)", playlist.read_text())]
