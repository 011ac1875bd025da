"""Jobs with real work for `jobtrail up --demo`: videos for tenant 1, jobs for tenants 2 and 3.

They are repeated until the demo is stopped, at a pace that one can watch. The ids of each kind of
work are used again after the last one, as further attempts, and a new encoding of a video replaces
the one before, so that the demo needs no more space with time. Used by `ops.commands.demo`.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from itertools import count

import orjson
import structlog

from ops.tasks.reporting import interrupt_on_sigterm, job_reporter
from streams.cluster import keys_of
from streams.connection import connect
from streams.job_report import JobReport
from streams.keys import JobKey
from streams.settings import Settings
from workers.video.encoder import encode
from workers.video.ffmpeg.process import make_clip

_LOG = structlog.get_logger(__name__)

CLIP_SECONDS = 40.0
CHUNK_BYTES = 64 * 1024
VIDEOS, JOBS = 3, 10
"""Ids of videos, and of each kind of jobs, before the first one is used again."""
JOB_SECONDS = 15.0
"""The time that a job is spread over."""
PAUSE = 5.0
"""Seconds between two pieces of work of one kind."""
FAILING = 1
"""The number of the report that fails."""
STOP_SECONDS = 2.0


class DeliberateFailure(Exception):
    """The failure of the job that shows what a failed job looks like."""


class _Demo:
    """The reporter, the folders and the clip of the jobs.

    The first video is reported as queued before the clip is made, which takes some seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = connect(settings.require_redis_url())
        self.reporter = job_reporter(settings)
        self.media = settings.data_dir / "media"
        self.folder = settings.data_dir / "demo"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clip = self.folder / "clip.mp4"
        self.stopped = threading.Event()
        self.queued_video(1)
        if not self.clip.exists():
            make_clip(self.clip, CLIP_SECONDS)

    def queued_video(self, number: int) -> int:
        """Report a video as queued, and return the attempt."""
        found = self._client.get(keys_of(self._client).status(JobKey("1", "video", str(number))))
        known = None if found is None else orjson.loads(found)
        if known is not None and known["status"] == "UPLOADED":
            return int(known["attempt"])
        attempt = 1 if known is None else int(known["attempt"]) + 1
        self.reporter.queued(str(number), tenant="1", kind="video", attempt=attempt)
        return attempt

    def job(self, job_id: str, tenant: str, job_type: str, **labels: str) -> JobReport:
        """Return the report of the next attempt of a job."""
        return self.reporter.job(
            job_id, tenant=tenant, job_type=job_type, attempt="next", labels=labels
        )

    def wait(self, seconds: float) -> None:
        """Wait, or raise KeyboardInterrupt, which cancels a job, if the demo is stopped."""
        if self.stopped.wait(seconds):
            raise KeyboardInterrupt

    def chunks(self, seconds: float) -> Iterator[tuple[bytes, float]]:
        """Yield the clip in chunks over some seconds, each with the percent that is read."""
        size, done = self.clip.stat().st_size, 0
        with self.clip.open("rb") as read:
            while chunk := read.read(CHUNK_BYTES):
                self.wait(seconds * len(chunk) / size)
                done += len(chunk)
                yield chunk, round(100 * done / size, 1)


Work = Callable[[_Demo, int], None]


def run_demo(settings: Settings) -> None:
    """Encode a clip for tenant 1, and run jobs for tenants 2 and 3, until SIGTERM or SIGINT.

    Jobs that run then are reported as cancelled.
    """
    interrupt_on_sigterm()
    demo = _Demo(settings)
    jobs = (_archive, _checksums, _report)
    threads = [threading.Thread(target=_repeat, args=(job, demo, JOBS)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        _repeat(_video, demo, VIDEOS)
    finally:
        demo.stopped.set()
        for thread in threads:
            thread.join(STOP_SECONDS)
    _LOG.info("demo_stopped")


def _repeat(work: Work, demo: _Demo, ids: int) -> None:
    """Do a piece of work for each id in turn, until it is interrupted."""
    try:
        for number in count():
            _run(work, demo, number % ids + 1)
            demo.wait(PAUSE)
    except KeyboardInterrupt:
        return


def _run(work: Work, demo: _Demo, number: int) -> None:
    """Do one piece of work; it reports a failure through its events."""
    try:
        work(demo, number)
    except DeliberateFailure as failure:
        _LOG.info("demo_job_failed_on_purpose", error=str(failure))
    except Exception as error:
        _LOG.warning("demo_job_failed", error=str(error))


def _video(demo: _Demo, number: int) -> None:
    attempt = demo.queued_video(number)
    encode(
        demo.clip,
        tenant="1",
        video_id=str(number),
        attempt=attempt,
        output_dir=demo.media,
        reporter=demo.reporter,
    )
    shutil.rmtree(demo.media / "1" / str(number) / str(attempt - 1), ignore_errors=True)


def _archive(demo: _Demo, number: int) -> None:
    """Compress the clip, chunk by chunk."""
    target = demo.folder / "clip.zz"
    with demo.job(f"archive-{number}", "2", "archive") as job, target.open("wb") as write:
        compressor, size = zlib.compressobj(9), 0
        for chunk, percent in demo.chunks(JOB_SECONDS):
            write.write(compressor.compress(chunk))
            size += len(chunk)
            job.progress("compressing", percent=percent)
        write.write(compressor.flush())
        job.done({"bytes": size, "compressed": write.tell()})


def _checksums(demo: _Demo, number: int) -> None:
    """Compute three hashes of the clip, each as one step."""
    names = ("sha256", "blake2b", "sha3_512")
    with demo.job(f"checksum-{number}", "2", "checksum") as job:
        sums = {}
        for index, name in enumerate(names, start=1):
            digest = hashlib.new(name)
            for chunk, percent in demo.chunks(JOB_SECONDS / len(names)):
                digest.update(chunk)
                job.progress(
                    name,
                    percent=round((100 * (index - 1) + percent) / len(names), 1),
                    step_index=index,
                    step_total=len(names),
                    step_name_display=name,
                    step_percent=percent,
                )
            sums[name] = digest.hexdigest()
        job.done(sums)


def _report(demo: _Demo, number: int) -> None:
    """Count the bytes of the clip by their value; one report fails on purpose."""
    labels = {"demo": "fails-on-purpose"} if number == FAILING else {}
    with demo.job(f"report-{number}", "3", "report", **labels) as job:
        zeros = size = 0
        for chunk, percent in demo.chunks(JOB_SECONDS):
            zeros, size = zeros + chunk.count(0), size + len(chunk)
            job.progress("counting", percent=percent)
            if number == FAILING and percent > 20:
                raise DeliberateFailure("on purpose: the demo shows what a failed job looks like")
        job.done({"bytes": size, "zeros": zeros})
