"""Sources with wrong metadata that players can play: they are encoded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.encoding import (
    PICTURE,
    RecordingJob,
    encoded,
    ffmpegs,
    playable_seconds,
    refused,
)
from workers.video.ffmpeg.probe import Video, probe
from workers.video.ffmpeg.process import ffmpeg_command, run
from workers.video.ffmpeg.survey import Timeline
from workers.video.hls import Plan, renditions

Film = Callable[..., Path]
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
SUBTITLE = "1\n00:01:00,000 --> 00:01:30,000\nlate\n"


def pictures(seconds: float, rate: str = "25", size: str = "64x36") -> tuple[str, ...]:
    return (*PICTURE, f"testsrc2=size={size}:rate={rate}:duration={seconds}")


def sound(seconds: float) -> tuple[str, ...]:
    return (*PICTURE, f"sine=duration={seconds}")


@dataclass(frozen=True)
class Played:
    """An encoded video, as a player reads it."""

    seconds: float
    video: str
    audio: str | None

    @property
    def rate(self) -> float:
        found = re.search(r", ([\d.]+) tbr", self.video)
        assert found
        return float(found[1])


def played(source: Path, out: Path) -> Played:
    """Encode a source, and check duration, playlist, pictures and progress."""
    job = RecordingJob()
    result = encoded(source, out, job)
    seconds = playable_seconds(result.hls_path)
    assert result.duration == pytest.approx(seconds, abs=0.5)
    percents = [said["percent"] for said in job.steps]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    for step in ("transcoding", "validating"):
        within = [said["step_percent"] for said in job.of(step)]
        assert within == sorted(within)
    assert all((said["remaining_seconds"] or 0) <= 3600 for said in job.steps)
    folder = Path(result.hls_path).parent
    assert (folder / "thumbnail.jpg").stat().st_size > 0
    streams = described(next(folder.glob("*/index.m3u8")))
    audio = next((line for line in streams if "Audio:" in line), None)
    return Played(seconds, next(line for line in streams if "Video:" in line), audio)


def described(path: Path) -> list[str]:
    # `-i` alone is an error to ffmpeg; a run of no time at all tells the same.
    told = run(ffmpeg_command("-i", path, "-t", "0", "-f", "null", "-", loglevel="info"))
    return [line for line in told.partition("Stream mapping")[0].splitlines() if "Stream #" in line]


def joined(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


@pytest.mark.parametrize("name", ["part.ts", "part.mpg"])
def test_joined_files_whose_times_start_again_play_one_after_the_other(
    film: Film, out: Path, name: str
) -> None:
    part = film(name, *pictures(1), *sound(1))
    assert played(joined(part.with_stem("both"), part, part), out).seconds == pytest.approx(
        2, abs=0.2
    )


@pytest.mark.parametrize("jump", [1000, 50_000])
def test_a_clock_that_jumps_adds_nothing(film: Film, out: Path, jump: int) -> None:
    part = film("part.ts", *pictures(1), *sound(1))
    later = film("later.ts", "-i", part, "-c", "copy", "-output_ts_offset", str(jump))
    for first, second in ((part, later), (later, part)):
        source = joined(part.with_stem("both"), first, second)
        assert played(source, out).seconds == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("name", ["subtitled.mp4", "subtitled.mkv"])
def test_tracks_that_nobody_plays_do_not_count(film: Film, out: Path, name: str) -> None:
    text = out.with_name("text.srt")
    text.write_text(SUBTITLE)
    codec = "mov_text" if name.endswith("mp4") else "srt"
    tracks = (*pictures(1), *sound(1), *sound(9), "-i", text)
    maps = ("-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:s", codec)
    assert played(film(name, *tracks, *maps), out).seconds == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("shown", "heard"), [(1, 5), (5, 1), (0.04, 3)])
def test_pictures_stay_to_the_end_of_the_sound_and_silence_to_the_end_of_the_pictures(
    film: Film, out: Path, shown: float, heard: float
) -> None:
    result = played(film("uneven.mp4", *pictures(shown), *sound(heard)), out)
    assert result.seconds == pytest.approx(max(shown, heard), abs=0.2)


@pytest.mark.parametrize("name", ["slow.mp4", "slow.webm", "slow.ts"])
def test_one_picture_every_ten_seconds(film: Film, out: Path, name: str) -> None:
    result = played(
        film(name, *pictures(20, "1/10"), *(() if name.endswith("webm") else H264)), out
    )
    assert result.seconds == pytest.approx(20, abs=0.5)
    assert result.rate == 5


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webm"])
@pytest.mark.parametrize("seconds", [0.04, 0.2])
def test_a_clip_of_less_than_a_second_plays_for_one(
    film: Film, out: Path, seconds: float, suffix: str
) -> None:
    assert played(film(f"short{suffix}", *pictures(seconds)), out).seconds == pytest.approx(1)


def test_a_live_recording_without_a_duration(film: Film, out: Path) -> None:
    live = film("live.webm", *pictures(1), *sound(1), "-c:v", "vp8", "-live", "1")
    assert played(live, out).seconds == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["shifted.mkv", "shifted.mp4", "cut.mp4"])
def test_negative_times_and_edit_lists_are_not_played(film: Film, out: Path, name: str) -> None:
    whole = film("whole.mp4", *pictures(3), *sound(3))
    start = ("-ss", "1.1") if name == "cut.mp4" else ()
    shift = () if start else ("-output_ts_offset", "-1.1", "-avoid_negative_ts", "disabled")
    source = film(name, *start, "-i", whole, "-c", "copy", *shift)
    length = 3 if name.endswith("mkv") else 1.9
    assert played(source, out).seconds == pytest.approx(length, abs=0.2)


@pytest.mark.parametrize(
    ("rate", "played_at"), [("1000", 58.82), ("240", 60), ("30000/1001", 29.97)]
)
def test_frame_rates_end_at_sixty(film: Film, out: Path, rate: str, played_at: float) -> None:
    result = played(film("fast.mp4", *pictures(1, rate), *H264), out)
    assert result.rate == pytest.approx(played_at, abs=0.01)


def test_a_browsers_recording_in_milliseconds_has_the_rate_of_its_pictures(
    film: Film, out: Path
) -> None:
    jittery = "settb=1/1000,setpts='floor(N*33.33+5*random(0))'"
    raw = ("-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-c:v", "vp8")
    source = film("recording.webm", *pictures(2, "30"), "-vf", jittery, *raw, "-live", "1")
    result = played(source, out)
    assert result.rate == pytest.approx(30, abs=0.1)
    assert result.seconds == pytest.approx(2, abs=0.1)


def first_audio_broken(film: Film) -> Path:
    source = film(
        "two.mkv",
        *pictures(1),
        *sound(1),
        *sound(1),
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-c:a",
        "libopus",
    )
    data = source.read_bytes()
    assert data.count(b"A_OPUS") == 2
    source.write_bytes(data.replace(b"A_OPUS", b"A_OPXX", 1))
    return source


def test_where_the_first_audio_track_cannot_be_decoded_the_next_is_taken(
    film: Film, out: Path
) -> None:
    assert played(first_audio_broken(film), out).audio


def test_where_no_audio_can_be_decoded_the_video_is_silent(film: Film, out: Path) -> None:
    source = first_audio_broken(film)
    source.write_bytes(source.read_bytes().replace(b"A_OPUS", b"A_OPXX"))
    assert played(source, out).audio is None


@pytest.mark.parametrize("layout", ["mono:8000", "5.1:48000"])
def test_any_sound_becomes_stereo_of_48_khz(film: Film, out: Path, layout: str) -> None:
    channels, _, rate = layout.partition(":")
    noise = f"anoisesrc=duration=1,aformat=channel_layouts={channels}:sample_rates={rate}"
    audio = played(film("sound.mp4", *pictures(1), *PICTURE, noise), out).audio
    assert audio
    assert "48000 Hz, stereo" in audio


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67", "bt2020-10"])
def test_hdr_becomes_8_bits_that_say_so(film: Film, out: Path, transfer: str) -> None:
    tags = f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:log-level=error"
    coding = ("-c:v", "libx265", "-x265-params", tags, "-pix_fmt", "yuv420p10le")
    source = film("hdr.mp4", *pictures(0.4), *coding)
    found = probe(source.name, cwd=source.parent, stall_seconds=30).video
    assert found
    assert (found.matrix, found.primaries, found.transfer) == ("bt2020nc", "bt2020", transfer)
    assert "yuv420p(tv, bt709" in played(source, out).video


@pytest.mark.parametrize(
    "tags",
    [
        "colormatrix=bt2020nc",
        "colorprim=bt2020",
        "transfer=smpte2084",
        "transfer=arib-std-b67:colorprim=bt2020",
        "transfer=smpte2084:colormatrix=bt2020nc",
    ],
)
def test_wide_colours_of_which_a_part_is_untagged(film: Film, out: Path, tags: str) -> None:
    coding = ("-c:v", "libx265", "-x265-params", f"{tags}:log-level=error")
    source = film("wide.mp4", *pictures(0.4), *coding, "-pix_fmt", "yuv420p10le")
    assert "yuv420p(tv, bt709" in played(source, out).video


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rgb.mkv", ("-c:v", "libx264rgb", "-pix_fmt", "rgb24")),
        ("full.mkv", ("-c:v", "mjpeg", "-pix_fmt", "yuvj444p")),
        ("alpha.mov", ("-c:v", "qtrle", "-pix_fmt", "argb")),
    ],
)
def test_colours_come_through(film: Film, out: Path, name: str, arguments: tuple[str, ...]) -> None:
    red = film(name, *PICTURE, "color=0xC83C28:size=64x36:duration=0.4", *arguments)
    assert "yuv420p(tv, " in played(red, out).video
    thumbnail = next(out.glob("*/*/*/thumbnail.jpg"))
    shown = film(
        "pixel.bin", "-i", thumbnail, "-vf", "scale=1:1", "-pix_fmt", "rgb24", "-f", "rawvideo"
    )
    assert list(shown.read_bytes()[:3]) == pytest.approx([0xC8, 0x3C, 0x28], abs=16)


def test_interlaced_pictures_become_progressive(film: Film, out: Path) -> None:
    coding = ("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-vf", "setfield=tff")
    source = film("tv.mpg", *pictures(1), *coding)
    found = probe(source.name, cwd=source.parent, stall_seconds=30).video
    assert found
    assert found.interlaced
    assert "first" not in played(source, out).video


def test_a_cover_picture_is_no_video(film: Film, out: Path) -> None:
    cover = film("cover.png", *PICTURE, "color=red:size=64x64", "-frames:v", "1")
    maps = ("-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    song = film("song.mp3", *sound(1), "-i", cover, *maps)
    assert refused(song, out)[0] == "no_video"


def huge_gif(film: Film) -> Path:
    source = film("huge.gif", *pictures(0.2))
    data = bytearray(source.read_bytes())
    data[6:10] = (16_000).to_bytes(2, "little") * 2
    source.write_bytes(data)
    return source


def huge_mov(film: Film) -> Path:
    source = film("huge.mov", *pictures(0.2), "-c:v", "qtrle")
    data = bytearray(source.read_bytes())
    size = data.index(b"rle ", data.index(b"stsd")) + 28
    assert data[size : size + 4] == bytes((0, 64, 0, 36))
    data[size : size + 4] = (16_000).to_bytes(2, "big") * 2
    source.write_bytes(data)
    return source


@pytest.mark.parametrize("make", [huge_gif, huge_mov])
def test_pictures_of_too_many_pixels_are_refused_before_they_are_decoded(
    film: Film, out: Path, make: Callable[[Film], Path]
) -> None:
    code, message = refused(make(film), out)
    assert code == "too_large"
    assert "16000 × 16000 pixels" in message


@pytest.mark.parametrize("name", ["many.mkv", "many.mp4"])
def test_too_many_streams_are_refused(film: Film, out: Path, name: str) -> None:
    maps = [part for _ in range(70) for part in ("-map", "0")]
    code, message = refused(film(name, *pictures(0.1), *maps, "-c:v", "mpeg4"), out)
    assert (code, message) == ("too_large", f"{name}: holds more than 64 streams")


def test_a_video_of_more_than_a_day_is_refused(film: Film, out: Path) -> None:
    apart = ("-vf", "setpts=N*10000/TB", "-fps_mode", "passthrough", *H264)
    source = film("days.mkv", *pictures(1), *apart)
    code, message = refused(source, out)
    assert (code, message) == (
        "too_long",
        "days.mkv: plays for 67 h, and no more than 24 h are encoded",
    )


def test_odd_shapes_stay_within_bounds() -> None:
    [panorama] = renditions(Video(0, 64_000, 36))
    assert (panorama.width, panorama.height) == (1920, 2)
    assert max(size.width for size in renditions(Video(0, 8192, 4320))) == 1364


@pytest.mark.parametrize(
    "size", [(3840, 700), (700, 3840), (3840, 720), (3500, 700), (2500, 480), (9000, 4000)]
)
def test_shapes_whose_renditions_would_be_alike__have_one(size: tuple[int, int]) -> None:
    names = [each.name for each in renditions(Video(0, *size))]
    assert names == (["720p", "360p"] if size == (9000, 4000) else names[:1])


def test_very_wide_video__is_published(film: Film, out: Path) -> None:
    encoded(film("wide.mkv", *pictures(0.5, size="3000x520")), out, RecordingJob())
    assert [path.parent.name for path in out.rglob("index.m3u8")] == ["332p"]


def test_noise_of_a_second__takes_no_more_than_was_checked(film: Film, out: Path) -> None:
    noise = ("-f", "lavfi", "-i", "nullsrc=s=320x240:r=60:d=1,geq=random(1)*255:128:128")
    source = film("noise.mkv", *noise, "-c:v", "ffv1")
    encoded(source, out, RecordingJob())
    used = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    plan = Plan(source.name, Video(0, 320, 240), None, Timeline(0.0, 1.0, Fraction(60)))
    assert plan.max_bytes / 4 < used <= plan.max_bytes


def test_transcoding_runs_in_a_clean_environment_within_limits(
    clip: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBTRAIL_JWT_SECRET", "s" * 40)
    monkeypatch.setenv("JOBTRAIL_DATABASE_URL", "postgresql://secret@localhost/x")
    seen: list[tuple[bytes, str]] = []

    def look(step: str, fields: dict[str, object]) -> None:
        if step == "transcoding" and fields["step_percent"] and not seen:
            [child] = ffmpegs()
            proc = Path(f"/proc/{child.pid}")
            seen.append(((proc / "environ").read_bytes(), (proc / "limits").read_text()))

    encoded(clip, out, RecordingJob(look))
    [(environ, limits)] = seen
    assert b"JOBTRAIL" not in environ
    assert b"PATH=" in environ
    for name in ("cpu time", "file size", "data size", "core file size", "address space"):
        [line] = [line for line in limits.splitlines() if line.startswith(f"Max {name}")]
        assert "unlimited" not in line
