"""Filters that make any source regular: time from 0, a constant frame rate, SDR colours.

Pictures are repeated in gaps, and the last one is shown to the end of the sound. Gaps in the sound
are filled with silence. Every rendition is then exactly as long as the timeline. Used by
`workers.video.hls`.
"""

from __future__ import annotations

from functools import lru_cache

from workers.video.ffmpeg.probe import Video
from workers.video.ffmpeg.process import ffmpeg_command, run
from workers.video.ffmpeg.survey import Timeline

_HDR_TRANSFERS = {"smpte2084", "arib-std-b67"}
_WIDE_MATRICES = {"bt2020nc", "bt2020c"}
_HD_HEIGHT = 720


def video_filters(video: Video, timeline: Timeline) -> str:
    """Return the filters that are applied before the scaling."""
    rate = f"{timeline.rate.numerator}/{timeline.rate.denominator}"
    deinterlacing = ["yadif=deint=interlaced"] if video.interlaced else []
    regular = [f"fps={rate}:start_time=0", "tpad=stop=-1:stop_mode=clone"]
    return ",".join([_shift("setpts", timeline), *deinterlacing, *regular, _cut("trim", timeline)])


def audio_filters(timeline: Timeline) -> str:
    """Return the filters that make any sound stereo at 48 kHz, as long as the timeline."""
    filled = "aresample=48000:async=1:first_pts=0"
    regular = [filled, "aformat=sample_fmts=fltp:channel_layouts=stereo", "apad"]
    return ",".join([_shift("asetpts", timeline), *regular, _cut("atrim", timeline)])


def colour_filters(video: Video, width: int, height: int) -> str:
    """Return the filters that scale to a size and convert to 8-bit 4:2:0 with correct colour tags.

    HDR is tone-mapped; if this ffmpeg has no filters for that, pixels and tags both stay HDR.
    """
    size = f"{width}:{height}"
    if _is_wide(video) and _can_tone_map():
        return ",".join((f"scale={size},setsar=1", *_to_sdr(video)))
    scale = f"scale={size}:out_range=tv"
    if video.matrix not in {"", "gbr"}:
        return f"{scale},setsar=1,format=yuv420p,setparams=range=tv"
    # Players guess untagged colours from the size, and would guess differently for a smaller one.
    high = min(video.width, video.height) >= _HD_HEIGHT
    matrix = "bt709" if high else "smpte170m"
    primaries = video.primaries or matrix
    tags = f"range=tv:colorspace={matrix}:color_primaries={primaries}"
    transfer = video.transfer or matrix
    chosen = f"in_color_matrix={matrix}:out_color_matrix={matrix}"
    return f"{scale}:{chosen},setsar=1,format=yuv420p,setparams={tags}:color_trc={transfer}"


def _is_wide(video: Video) -> bool:
    return (
        video.transfer in _HDR_TRANSFERS
        or video.primaries == "bt2020"
        or video.matrix in _WIDE_MATRICES
    )


def _to_sdr(video: Video) -> list[str]:
    """Return the filters from wide colours to BT.709; after scaling, because they use floats."""
    transfer, primaries = video.transfer or "bt2020-10", video.primaries or "bt2020"
    # Set on each frame: zscale's options for its input leave the frame untagged, and the next
    # zscale cannot convert from unknown colours.
    tags = (
        f"color_trc={transfer}:color_primaries={primaries}:colorspace={video.matrix or 'bt2020nc'}"
    )
    end = ["zscale=t=bt709:m=bt709:r=tv", "format=yuv420p"]
    # HDR10 values are absolute luminance: 100 cd/m² is the white of SDR.
    light = ["zscale=t=linear:npl=100", "format=gbrpf32le", "zscale=p=bt709"]
    linear = [f"setparams={tags}", *light]
    if transfer not in _HDR_TRANSFERS:
        return [*linear, *end]
    return [*linear, "tonemap=hable:desat=0", *end]


@lru_cache(maxsize=1)
def _can_tone_map() -> bool:
    names: set[str] = set()

    def collect(line: str) -> bool:
        names.update(line.split()[1:2])
        return True

    run(ffmpeg_command("-filters"), on_line=collect)
    return {"zscale", "tonemap"} <= names


def _shift(name: str, timeline: Timeline) -> str:
    return f"{name}=PTS-({timeline.start:.6f})/TB"


def _cut(name: str, timeline: Timeline) -> str:
    return f"{name}=end={timeline.seconds:.6f}"
