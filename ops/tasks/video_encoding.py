"""`jobtrail video encode`: one run of the reference video worker, as a job.

Used by `ops.commands.video`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ops.errors import CommandError
from ops.tasks.reporting import interrupt_on_sigterm, job_reporter
from streams.event_ids import new_event_id
from streams.settings import Settings
from workers.video.encoder import Encoded, VideoError, encode


class Request(NamedTuple):
    """The video to encode, and the job to encode it as."""

    file: Path
    tenant: str
    video_id: str | None
    """None for a new video."""
    attempt: int
    output: Path | None
    """The folder for HLS; None for `media` in the data directory."""


def encode_file(
    settings: Settings, request: Request, on_start: Callable[[str], None]
) -> tuple[str, Encoded]:
    """Encode the video and report its steps; return its id and what was published.

    `on_start` is called with the id before the work begins.

    Raises:
        CommandError: the video cannot be encoded, or the work was interrupted.
        SettingsError: no Redis is configured.
    """
    video_id = request.video_id or new_event_id()
    interrupt_on_sigterm()
    reporter = job_reporter(settings)
    on_start(video_id)
    try:
        encoded = encode(
            request.file,
            tenant=request.tenant,
            video_id=video_id,
            output_dir=request.output or settings.data_dir / "media",
            reporter=reporter,
            attempt=request.attempt,
        )
    except VideoError as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        raise CommandError(f"video {video_id} was cancelled") from None
    return video_id, encoded
