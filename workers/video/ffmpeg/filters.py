"""The filters that make any source regular: time from 0, a constant frame rate, SDR colours.

Pictures are repeated where the source has a gap, and the last one stays to the end of the sound;
silence fills the sound likewise, so that every rendition lasts exactly as long as its timeline.
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
    """Return the filters in front of all scaling."""
    rate = f"{timeline.rate.numerator}/{timeline.rate.denominator}"
    deinterlacing = ["yadif=deint=interlaced"] if video.interlaced else []
    regular = [f"fps={rate}:start_time=0", "tpad=stop=-1:stop_mode=clone"]
    return ",".join([_shift("setpts", timeline), *deinterlacing, *regular, _cut("trim", timeline)])


def audio_filters(timeline: Timeline) -> str:
    """Return the filters that make any sound stereo of 48 kHz, as long as the timeline."""
    filled = "aresample=48000:async=1:first_pts=0"
    regular = [filled, "aformat=sample_fmts=fltp:channel_layouts=stereo", "apad"]
    return ",".join([_shift("asetpts", timeline), *regular, _cut("atrim", timeline)])


def colour_filters(video: Video, width: int, height: int) -> str:
    """Return the filters that scale to a size and end in 8 bits of 4:2:0, tagged as what they are.

    HDR is tone-mapped; where this ffmpeg has no filters for it, pixels and tags stay HDR alike.
    """
    size = f"{width}:{height}"
    if _is_wide(video) and _can_tone_map():
        return ",".join((f"scale={size},setsar=1", *_to_sdr(video)))
    scale = f"scale={size}:out_range=tv"
    if video.matrix not in {"", "gbr"}:
        return f"{scale},setsar=1,format=yuv420p,setparams=range=tv"
    # Players guess the colours of a size without tags, and would guess anew for a smaller one.
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
    """Return the filters from wide colours to BT.709, after scaling: they work on floats."""
    transfer, primaries = video.transfer or "bt2020-10", video.primaries or "bt2020"
    # Told to each frame: zscale's own options for its input leave the frame untagged, and the next
    # zscale then finds no way from unknown colours.
    told = (
        f"color_trc={transfer}:color_primaries={primaries}:colorspace={video.matrix or 'bt2020nc'}"
    )
    end = ["zscale=t=bt709:m=bt709:r=tv", "format=yuv420p"]
    # HDR10 counts in absolute light: 100 cd/m² is the white of SDR.
    light = ["zscale=t=linear:npl=100", "format=gbrpf32le", "zscale=p=bt709"]
    linear = [f"setparams={told}", *light]
    if transfer not in _HDR_TRANSFERS:
        return [*linear, *end]
    return [*linear, "tonemap=hable:desat=0", *end]


@lru_cache(maxsize=1)
def _can_tone_map() -> bool:
    names: set[str] = set()

    def note(line: str) -> bool:
        names.update(line.split()[1:2])
        return True

    run(ffmpeg_command("-filters"), on_line=note)
    return {"zscale", "tonemap"} <= names


def _shift(name: str, timeline: Timeline) -> str:
    return f"{name}=PTS-({timeline.start:.6f})/TB"


def _cut(name: str, timeline: Timeline) -> str:
    return f"{name}=end={timeline.seconds:.6f}"
