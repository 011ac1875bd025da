"""Real work for a newcomer to look at: a video for one tenant, a few jobs for two more."""

from __future__ import annotations

import hashlib
import signal
import threading
import zlib
from collections.abc import Callable

import orjson
import structlog

from streams.connection import connect
from streams.keys import JobKey, Keys
from streams.reporter import JobReport, Reporter
from streams.settings import Settings
from workers.video.encoder import encode
from workers.video.ffmpeg.process import make_clip

_LOG = structlog.get_logger(__name__)

CLIP_SECONDS = 40.0
CHUNK = 64 * 1024


class _Demo:
    """The servers, the material and the next attempt of each job."""

    def __init__(self, settings: Settings) -> None:
        url = settings.require_redis_url()
        self._client = connect(url)
        self.reporter = Reporter.from_url(
            url,
            max_event_bytes=settings.max_event_bytes,
            max_stream_bytes=settings.stream_max_bytes,
        )
        self.media = settings.data_dir / "media"
        self.folder = settings.data_dir / "demo"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clip = self.folder / "clip.mp4"
        self.video_attempt = self.next_attempt("1", "video", "1")
        self.reporter.queued("1", tenant="1", kind="video", attempt=self.video_attempt)
        if not self.clip.exists():
            make_clip(self.clip, CLIP_SECONDS)

    def next_attempt(self, tenant: str, kind: str, job_id: str) -> int:
        """Count up from an earlier run of the demo, which ended what it did."""
        found = self._client.get(Keys().status(JobKey(tenant, kind, job_id)))
        return 1 if found is None else int(orjson.loads(found)["attempt"]) + 1

    def job(self, job_id: str, tenant: str, job_type: str, **labels: str) -> JobReport:
        """Report the next attempt of a job."""
        attempt = self.next_attempt(tenant, "job", job_id)
        return self.reporter.job(
            job_id, tenant=tenant, job_type=job_type, attempt=attempt, labels=labels
        )


def run(settings: Settings) -> None:
    """Encode a clip for tenant 1, and run jobs for tenants 2 and 3, one of which fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo = _Demo(settings)
    for job in (_archive, _checksums, _report):
        threading.Thread(target=_quietly, args=(job, demo)).start()
    try:
        _video(demo)
    except KeyboardInterrupt:
        _LOG.info("demo_stopped")


def _quietly(job: Callable[[_Demo], None], demo: _Demo) -> None:
    """One of them is meant to fail; its failure is reported through its events."""
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
        while chunk := read.read(CHUNK):
            write.write(compressor.compress(chunk))
            done += len(chunk)
            job.progress("compressing", percent=round(100 * done / size, 1))
        write.write(compressor.flush())
        job.done({"bytes": size, "compressed": target.stat().st_size})


def _checksums(demo: _Demo) -> None:
    """Hash the clip in three ways."""
    names = ("sha256", "blake2b", "sha3_512")
    with demo.job("checksum-1", "2", "checksum") as job:
        sums = {}
        for index, name in enumerate(names, start=1):
            job.progress(name, step_index=index, step_total=len(names), step_name_display=name)
            sums[name] = hashlib.new(name, demo.clip.read_bytes()).hexdigest()
        job.done(sums)


def _report(demo: _Demo) -> None:
    """Read a file that is not there, to show what a failure looks like."""
    source = demo.folder / "there-is-no-such-report.csv"
    with demo.job("report-1", "3", "report", demo="fails") as job:
        job.progress("reading", percent=5)
        job.done({"lines": len(source.read_text(encoding="utf-8").splitlines())})
