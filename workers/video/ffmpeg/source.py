"""Limits on a source and on the resources it may use. Sources are untrusted.

A playlist or a concat list is a "video" that makes ffmpeg open other files or the network, and a
small file can make ffmpeg use any amount of memory. Every command that reads a source has the
arguments `SOURCE_GUARD` and runs within `caps`. Used by the other modules of `workers.video`.
"""

from __future__ import annotations

import os

from workers.confinement import MIB, Caps
from workers.video.ffmpeg.process import Argument

MOST_PIXELS = 8192 * 4320
MOST_STREAMS = 64
MOST_SECONDS = 24 * 3600

# Containers and bare streams; bare audio is accepted here to be refused later with its reason.
_DEMUXERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,obu,flv,live_flv,asf,ogg,mxf,gxf,nut"
    ",dv,rm,wtv,gif,apng,mp3,wav,flac,aac,ac3,eac3,aiff,amr,caf,w64,wv,ape"
)
# More threads use more memory, and gain little for pictures of the usual size.
THREADS = str(min(4, os.cpu_count() or 1))

SOURCE_GUARD: tuple[Argument, ...] = (
    *("-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS),
    *("-max_streams", str(MOST_STREAMS), "-max_pixels", str(MOST_PIXELS), "-threads", THREADS),
)

_MEMORY_BYTES = 1024 * MIB
_RESERVED_BYTES = 3 * 1024 * MIB
_FILE_BYTES = 256 * MIB
_LEAST_CPU_SECONDS = 600
_CPU_SECONDS_PER_SECOND = 60


def caps(seconds: float = 0.0) -> Caps:
    """Return the limits on the resources of a command that handles `seconds` of video."""
    cpu_seconds = _LEAST_CPU_SECONDS + round(seconds * _CPU_SECONDS_PER_SECOND)
    return Caps(_MEMORY_BYTES, cpu_seconds, _FILE_BYTES, reserved_bytes=_RESERVED_BYTES)
