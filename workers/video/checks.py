"""Checks of the source before it is encoded: file, size, length, free disk space.

Used by `workers.video.encoder` and `workers.video.rendering`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from workers.video.error import SourceMissing, VideoError
from workers.video.ffmpeg.probe import Media, Video, too_many_pixels
from workers.video.ffmpeg.process import reason
from workers.video.ffmpeg.source import MOST_PIXELS, MOST_SECONDS
from workers.video.ffmpeg.survey import Timeline

# Space for the renditions of a small file; a large one needs about twice its size.
_SPARE_BYTES = 64 * 1024 * 1024
_NO_SUCH_PATH = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
# The index of an MP4 file lists data that the file does not have.
_CUT_OFF = re.compile(r"\bpartial file\b")


def check_exists(source: Path) -> None:
    """Raise SourceMissing if the file does not exist; nothing else is checked."""
    try:
        source.stat()
    except ValueError:  # a NUL in the name
        raise SourceMissing(source) from None
    except OSError as error:
        if error.errno in _NO_SUCH_PATH:
            raise SourceMissing(source) from None


def check_source(source: Path, output_dir: Path) -> None:
    """Raise VideoError for a file that is not readable, or too large for the free disk space."""
    if not source.is_file():
        raise VideoError("is not a regular file", code="unreadable")
    if not os.access(source, os.R_OK):
        raise VideoError("is not readable for this user", code="unreadable")
    size = source.stat().st_size
    if size == 0:
        raise VideoError("is empty", code="empty")
    output_dir.mkdir(parents=True, exist_ok=True)
    check_room(output_dir, 2 * size)


def check_room(folder: Path, size: int) -> None:
    """Raise VideoError if fewer than `size` bytes and a reserve are free."""
    wanted, free = size + _SPARE_BYTES, shutil.disk_usage(folder).free
    if free < wanted:
        raise VideoError(
            f"needs {wanted >> 20} MiB free in the output directory, {free >> 20} MiB are",
            code="no_space",
        )


def check_size(video: Video) -> None:
    """Raise VideoError for pictures that take too much memory to decode."""
    if video.pixels > MOST_PIXELS:
        raise too_many_pixels(video.width, video.height)


def check_timeline(timeline: Timeline, media: Media) -> None:
    """Raise VideoError for a video that is too long, or whose end is missing."""
    if timeline.seconds > MOST_SECONDS:
        hours = f"{timeline.seconds / 3600:.0f} h"
        most = MOST_SECONDS // 3600
        raise VideoError(
            f"plays for {hours}, and no more than {most} h are encoded", code="too_long"
        )
    stated = media.duration or 0.0
    missing = stated - timeline.seconds > max(1.0, 0.02 * stated)
    if missing and _CUT_OFF.search(timeline.complaints):
        because = reason(timeline.complaints)
        raise VideoError(
            f"{timeline.seconds:.1f} s of {stated:.1f} s came through: {because}", code="invalid"
        )
