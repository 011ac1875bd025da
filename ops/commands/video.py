"""`jobtrail video`: the reference video worker on the command line. Used by `ops.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.addresses import command_settings
from ops.arguments import check_servers, check_source
from ops.commands.shared_options import AsJson
from ops.printing import print_facts_or_line, print_line
from streams.keys import check_tenant

File = Annotated[Path, typer.Argument(help="The source.")]
Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant of the video.")]
VideoId = Annotated[str | None, typer.Option(help="The video's id; a new one by default.")]
Attempt = Annotated[int, typer.Option(min=1, help="The number of this run.")]
Output = Annotated[
    Path | None, typer.Option(help="The folder for HLS; media/ in the data folder by default.")
]

video = typer.Typer(help="The reference video worker.", no_args_is_help=True)


@video.callback()
def video_commands() -> None:
    """Transcode videos."""


@video.command()
def encode(
    file: File,
    tenant: Tenant,
    *,
    id: VideoId = None,  # noqa: A002 - the contract's word
    attempt: Attempt = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Transcode a video to HLS and report its seven steps."""
    from ops.tasks import video_encoding  # noqa: PLC0415 - help needs none of it

    settings = command_settings()
    check_tenant(tenant)
    # Work that has begun goes on without Redis; work that nobody can follow is not begun.
    check_servers(settings)
    check_source(file)
    video_id, encoded = video_encoding.encode_file(
        settings,
        video_encoding.Request(file, tenant, id, attempt, output),
        lambda name: None if as_json else print_line(f"video {name}"),
    )
    print_facts_or_line(
        {"id": video_id, "hls_path": encoded.hls_path, "duration": encoded.duration},
        f"{encoded.hls_path} ({encoded.duration} s)",
        as_json=as_json,
    )
