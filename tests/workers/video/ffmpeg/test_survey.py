from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.encoding import PICTURE
from workers.confinement import MIB, Caps
from workers.video.ffmpeg.process import FfmpegCapped, ffmpeg_command, run
from workers.video.ffmpeg.survey import LEAST_RATE, MOST_RATE, frame_rate, playing_rate


def test_frame_rate_of_rounded_times_is_the_standard_one() -> None:
    assert frame_rate([round(n / 30, 3) for n in range(90)]) == 30
    assert frame_rate([round(n * 1001 / 24000, 3) for n in range(90)]) == Fraction(24000, 1001)


def test_frame_rate_looks_past_pauses_and_jumps() -> None:
    times = [n / 25 for n in range(50)]
    assert frame_rate([*times, *(5000 + time for time in times)]) == 25


def test_frame_rate_of_a_single_picture_is_the_usual_one() -> None:
    assert frame_rate([7.0]) == 25


@given(st.lists(st.floats(min_value=0, max_value=1e7), min_size=1))
def test_playing_rate_of_any_times_is_bounded(times: list[float]) -> None:
    assert LEAST_RATE <= playing_rate(frame_rate(times)) <= MOST_RATE


@pytest.mark.parametrize(
    ("rate", "played"),
    [("240", "60"), ("120000/1001", "60000/1001"), ("100", "50"), ("1/10", "5"), ("24", "24")],
)
def test_playing_rate_divides_and_multiplies_evenly(rate: str, played: str) -> None:
    assert playing_rate(Fraction(rate)) == Fraction(played)


@pytest.mark.parametrize(
    ("caps", "message"),
    [
        (Caps(400 * MIB, 60, MIB), "needs more than 400 MiB of memory"),
        (Caps(1024 * MIB, 1, MIB, reserved_bytes=3072 * MIB), "more than 1 s of processor time"),
    ],
)
def test_run_names_the_limit_that_ffmpeg_met(tmp_path: Path, caps: Caps, message: str) -> None:
    size = "12000x12000" if caps.cpu_seconds > 1 else "320x180"
    endless = (*PICTURE, f"testsrc2=size={size}", "-threads", "1", "-f", "null", "-")
    with pytest.raises(FfmpegCapped, match=message) as caught:
        run(ffmpeg_command(*endless), cwd=tmp_path, caps=caps, stall_seconds=60)
    assert caught.value.code == "too_large"
