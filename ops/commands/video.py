"""`jobtrail video`: the reference video worker on the command line."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from ops.addresses import command_settings
from ops.arguments import check_servers, check_source
from ops.errors import CommandError
from ops.printing import print_json, print_line
from streams.event_ids import new_event_id
from streams.keys import check_tenant
from streams.reporter import Reporter

video = typer.Typer(help="The reference video worker.", no_args_is_help=True)


@video.callback()
def video_commands() -> None:
    """Transcode videos."""


@video.command()
def encode(
    file: Annotated[Path, typer.Argument(help="The source.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose video it is.")],
    *,
    id: Annotated[str | None, typer.Option(help="The video's id; a new one by default.")] = None,  # noqa: A002
    attempt: Annotated[int, typer.Option(min=1, help="Which run of it this is.")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="Where HLS goes; media/ in the data folder by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Transcode a video to HLS and report its seven steps."""
    from workers.video.encoder import VideoError  # noqa: PLC0415 - as in `up`
    from workers.video.encoder import encode as encode_video  # noqa: PLC0415

    settings = command_settings()
    check_tenant(tenant)
    # Work that is under way goes on without Redis; work that nobody could follow is not begun.
    check_servers(settings)
    check_source(file)
    video_id = id or new_event_id()
    # A supervisor's SIGTERM is the same wish as Ctrl-C: end ffmpeg and report `cancelled`.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reporter = Reporter.from_url(
        settings.require_redis_url(),
        max_event_bytes=settings.max_event_bytes,
        max_stream_bytes=settings.stream_max_bytes,
    )
    if not as_json:
        print_line(f"video {video_id}")
    try:
        encoded = encode_video(
            file,
            tenant=tenant,
            video_id=video_id,
            output_dir=output or settings.data_dir / "media",
            reporter=reporter,
            attempt=attempt,
        )
    except VideoError as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        raise CommandError(f"video {video_id} was cancelled") from None
    if as_json:
        print_json({"id": video_id, "hls_path": encoded.hls_path, "duration": encoded.duration})
    else:
        print_line(f"{encoded.hls_path} ({encoded.duration} s)")
