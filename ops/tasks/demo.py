"""Jobs with real work for `jobtrail up --demo`: a video for tenant 1, jobs for tenants 2 and 3."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable

import orjson
import structlog

from ops.tasks.reporting import interrupt_on_sigterm, job_reporter
from streams.connection import connect
from streams.job_report import JobReport
from streams.keys import JobKey, Keys
from streams.settings import Settings
from workers.video.encoder import encode
from workers.video.ffmpeg.process import make_clip

_LOG = structlog.get_logger(__name__)

CLIP_SECONDS = 40.0
CHUNK_BYTES = 64 * 1024


class _Demo:
    """The reporter, the folders and the clip of the jobs.

    The video is reported as queued before the clip is made, which takes some seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = connect(settings.require_redis_url())
        self.reporter = job_reporter(settings)
        self.media = settings.data_dir / "media"
        self.folder = settings.data_dir / "demo"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clip = self.folder / "clip.mp4"
        self.video_attempt = self.next_attempt("1", "video", "1")
        self.reporter.queued("1", tenant="1", kind="video", attempt=self.video_attempt)
        if not self.clip.exists():
            make_clip(self.clip, CLIP_SECONDS)

    def next_attempt(self, tenant: str, kind: str, job_id: str) -> int:
        """Return the attempt after that of an earlier run of the demo, which has ended."""
        found = self._client.get(Keys().status(JobKey(tenant, kind, job_id)))
        return 1 if found is None else int(orjson.loads(found)["attempt"]) + 1

    def job(self, job_id: str, tenant: str, job_type: str, **labels: str) -> JobReport:
        """Return the report of the next attempt of a job."""
        attempt = self.next_attempt(tenant, "job", job_id)
        return self.reporter.job(
            job_id, tenant=tenant, job_type=job_type, attempt=attempt, labels=labels
        )


def run_demo(settings: Settings) -> None:
    """Encode a clip for tenant 1, and run jobs for tenants 2 and 3, one of which fails.

    Returns once the video is encoded, or was cancelled by SIGTERM or SIGINT.
    """
    interrupt_on_sigterm()
    demo = _Demo(settings)
    for job in (_archive, _checksums, _report):
        threading.Thread(target=_run_job, args=(job, demo)).start()
    try:
        _video(demo)
    except KeyboardInterrupt:
        _LOG.info("demo_stopped")


def _run_job(job: Callable[[_Demo], None], demo: _Demo) -> None:
    """Run one job; it reports a failure through its events, which one job does on purpose."""
    try:
        job(demo)
    except Exception as error:
        _LOG.info("demo_job_failed", error=str(error))


def _video(demo: _Demo) -> None:
    encode(
        demo.clip,
        tenant="1",
        video_id="1",
        attempt=demo.video_attempt,
        output_dir=demo.media,
        reporter=demo.reporter,
    )


def _archive(demo: _Demo) -> None:
    """Compress the clip, chunk by chunk."""
    source, target = demo.clip, demo.folder / "clip.zz"
    size = source.stat().st_size
    with (
        demo.job("archive-1", "2", "archive") as job,
        source.open("rb") as read,
        target.open("wb") as write,
    ):
        compressor, done = zlib.compressobj(9), 0
        while chunk := read.read(CHUNK_BYTES):
            write.write(compressor.compress(chunk))
            done += len(chunk)
            job.progress("compressing", percent=round(100 * done / size, 1))
        write.write(compressor.flush())
        job.done({"bytes": size, "compressed": target.stat().st_size})


def _checksums(demo: _Demo) -> None:
    """Compute three hashes of the clip."""
    names = ("sha256", "blake2b", "sha3_512")
    with demo.job("checksum-1", "2", "checksum") as job:
        sums = {}
        for index, name in enumerate(names, start=1):
            job.progress(name, step_index=index, step_total=len(names), step_name_display=name)
            sums[name] = hashlib.new(name, demo.clip.read_bytes()).hexdigest()
        job.done(sums)


def _report(demo: _Demo) -> None:
    """Read a file that does not exist, as an example of a failure."""
    source = demo.folder / "there-is-no-such-report.csv"
    with demo.job("report-1", "3", "report", demo="fails") as job:
        job.progress("reading", percent=5)
        job.done({"lines": len(source.read_text(encoding="utf-8").splitlines())})
