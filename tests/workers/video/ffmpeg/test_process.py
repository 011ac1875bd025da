from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import ENDING, eventually
from workers.confinement import MIB, Caps
from workers.video.ffmpeg.probe import Media, Video, parse_ffmpeg, parse_ffprobe, probe
from workers.video.ffmpeg.process import (
    FfmpegCapped,
    FfmpegFailed,
    FfmpegMissing,
    FfmpegStalled,
    ffmpeg_command,
    find_ffmpeg,
    make_clip,
    reason,
    run,
)
from workers.video.ffmpeg.progress import Progress, ProgressParser, run_with_progress

ROOT = Path(__file__).parents[4]
BLOCK = "frame=61\nout_time_us=1500000\nspeed=3.0x\nprogress=continue"
KNOWN_KEYS = st.sampled_from(("out_time_us", "speed", "frame", "progress", "out_time"))


def fed(*lines: str) -> list[Progress]:
    parser = ProgressParser()
    return [progress for line in lines if (progress := parser.feed(line)) is not None]


def test_parser_gives_one_progress_a_block() -> None:
    assert fed(*BLOCK.splitlines()) == [Progress(seconds=1.5, speed=3.0, ended=False)]


def test_parser_keeps_what_it_knew_when_ffmpeg_says_not_available() -> None:
    gap = ("out_time_us=N/A", "speed=N/A", "progress=continue")
    assert fed(*BLOCK.splitlines(), *gap)[-1] == Progress(seconds=1.5, speed=3.0, ended=False)


def test_remaining_seconds_are_what_is_left_at_the_present_speed() -> None:
    assert Progress(seconds=40, speed=2.0, ended=False).remaining_seconds(100) == 30
    assert Progress(seconds=40, speed=None, ended=False).remaining_seconds(100) is None
    assert Progress(seconds=120, speed=2.0, ended=False).remaining_seconds(100) == 0


def test_fraction_of_an_ended_run_is_whole() -> None:
    assert Progress(seconds=99, speed=None, ended=True).fraction(100) == 1.0


@given(
    lines=st.lists(
        st.text() | st.builds("{}={}".format, KNOWN_KEYS, st.text() | st.floats() | st.integers())
    ),
    duration=st.floats(min_value=0, max_value=1e6),
)
def test_parser_makes_sense_of_any_lines(lines: list[str], duration: float) -> None:
    latest = 0.0
    for progress in fed(*lines, "progress=end"):
        assert progress.seconds >= latest
        latest = progress.seconds
        assert 0.0 <= progress.fraction(duration) <= 1.0
        remaining = progress.remaining_seconds(duration)
        assert remaining is None or remaining >= 0


@given(st.text())
def test_reason_is_one_short_line_of_anything(text: str) -> None:
    said = reason(text)
    assert said.isprintable()
    assert len(said) <= 300


def test_reason_leaves_out_addresses_and_what_is_said_of_every_failure() -> None:
    stderr = (
        "[in#0 @ 0x55c07c896040] moov atom not found\n"
        "[in#0 @ 0x55c07c895cc0] Error opening input: Invalid data found\n"
        "Error opening input file file:x.mp4.\n"
        "Error opening input files: Invalid data found\n"
    )
    assert reason(stderr) == "moov atom not found; Invalid data found"


@given(st.text() | st.text().map("  Stream #0:0: Video: {}, 10x10\n  Duration: ".format))
def test_parse_ffmpeg_makes_sense_of_any_text(text: str) -> None:
    assert isinstance(parse_ffmpeg(text), Media)


def test_parse_ffmpeg_turns_a_phone_video_upright_and_passes_over_cover_art() -> None:
    text = (
        "Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:source.mp4':\n"
        "  Duration: 00:01:02.50, start: 1.500000, bitrate: 6485 kb/s\n"
        "  Stream #0:0[0x1]: Video: mjpeg, yuvj420p, 600x600, 90k tbr (attached pic)\n"
        "  Stream #0:1[0x2](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p,"
        " 1920x1080 [SAR 1:1 DAR 16:9], 30 fps (default)\n"
        "    Side data:\n"
        "      Display Matrix: rotation of -90.00 degrees\n"
        "  Stream #0:2[0x3](und): Audio: aac (LC), 44100 Hz, mono, fltp, 69 kb/s (default)\n"
    )
    assert parse_ffmpeg(text) == Media(62.5, Video(1, 1080, 1920), audio_index=2, start=1.5)


def test_parse_ffprobe_agrees_with_the_same_file() -> None:
    streams = [
        {"index": 0, "codec_type": "video", "width": 600, "height": 600}
        | {"disposition": {"attached_pic": 1}},
        {"index": 1, "codec_type": "video", "width": 1920, "height": 1080}
        | {"sample_aspect_ratio": "1:1", "side_data_list": [{"rotation": -90}]},
        {"index": 2, "codec_type": "audio"},
    ]
    document = {"streams": streams, "format": {"duration": "62.500000", "start_time": "1.500000"}}
    assert parse_ffprobe(document) == Media(62.5, Video(1, 1080, 1920), audio_index=2, start=1.5)


def test_probe_counts_pixels_that_are_not_square(tmp_path: Path) -> None:
    source = "testsrc2=size=720x480:duration=0.2,setsar=8/9"
    run(ffmpeg_command("-f", "lavfi", "-i", source, "-y", tmp_path / "ntsc.mkv"))
    found = probe("ntsc.mkv", cwd=tmp_path, stall_seconds=30).video
    assert found == Video(0, 640, 480)


def test_make_clip_has_pictures_and_sound(tmp_path: Path) -> None:
    make_clip(tmp_path / "new" / "clip.mp4", 0.5, size="160x90")
    media = probe("clip.mp4", cwd=tmp_path / "new", stall_seconds=30)
    assert media.video == Video(0, 160, 90)
    assert media.audio_index == 1
    assert media.duration == pytest.approx(0.5, abs=0.1)


def test_run_with_progress_reports_up_to_the_end(clip: Path) -> None:
    seen: list[Progress] = []
    arguments = ("-i", clip.name, "-f", "null", "-")
    run_with_progress(arguments, seen.append, cwd=clip.parent)
    assert seen[-1].ended
    assert seen[-1].seconds == pytest.approx(3, abs=0.2)


def test_run_ends_and_reaps_an_ffmpeg_that_waits_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nobody-writes")
    command = ffmpeg_command("-i", tmp_path / "nobody-writes", "-f", "null", "-")
    with pytest.raises(FfmpegStalled, match=r"no progress for 0\.3 s"):
        run(command, stall_seconds=0.3)
    assert not [child for child in psutil.Process().children() if "ffmpeg" in child.name()]


def test_run_survives_more_complaints_than_a_pipe_holds() -> None:
    flood = "import sys; sys.stderr.write('x' * 5_000_000); sys.stderr.write('\\nthe end')"
    assert run([sys.executable, "-c", flood]).endswith("the end")


def test_run_gives_ffmpegs_own_reason(tmp_path: Path) -> None:
    with pytest.raises(FfmpegFailed, match="No such file or directory"):
        run(ffmpeg_command("-i", "absent.mp4", "-f", "null", "-"), cwd=tmp_path)


def test_run_names_the_signal_of_one_that_died_silently() -> None:
    with pytest.raises(FfmpegFailed, match="ended by signal 9"):
        run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])


def test_runs_at_the_same_time__each_has_its_own_processor_time(tmp_path: Path) -> None:
    """A run that the kernel ends for lack of memory is not blamed for what another one used."""
    killed = "import os, sys; sys.stdin; os.kill(os.getpid(), 9)"
    busy = "import time\nwhile time.process_time() < 1.2: pass"
    caps = Caps(1024 * MIB, cpu_seconds=1, file_bytes=MIB)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    waiting = [sys.executable, "-c", f"open({str(gate)!r}).read(); {killed}"]
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(run, waiting, caps=caps)
        run([sys.executable, "-c", busy])
        gate.open("w").close()
        with pytest.raises(FfmpegFailed, match="ended by signal 9"):
            other.result(ENDING)


def test_processor_time_beyond_the_limit__is_named() -> None:
    """By a process that catches the signal as ffmpeg does, one that does not, and ffmpeg itself."""
    handled = "import signal; signal.signal(signal.SIGXCPU, lambda *_: exit(255))"
    endless = ["-f", "lavfi", "-i", "testsrc2=size=1920x1080", "-f", "null", "-"]
    caps = Caps(1024 * MIB, cpu_seconds=1, file_bytes=MIB)
    for command in (
        [sys.executable, "-c", f"{handled}\nwhile True: pass"],
        [sys.executable, "-c", "while True: pass"],
        ffmpeg_command(*endless),
    ):
        with pytest.raises(FfmpegCapped, match="more than 1 s of processor time"):
            run(command, caps=caps)


def test_killed_for_another_reason__may_be_tried_again() -> None:
    """As for a lack of memory, after more than half of the processor time."""
    code = "import os, time\nwhile time.process_time() < 1.05: pass\nos.kill(os.getpid(), 9)"
    caps = Caps(1024 * MIB, cpu_seconds=2, file_bytes=MIB)
    with pytest.raises(FfmpegFailed, match="ended by signal 9"):
        run([sys.executable, "-c", code], caps=caps)


def test_ffmpeg_that_is_started_by_a_script__ends_with_it(tmp_path: Path) -> None:
    script, started = tmp_path / "ffmpeg", tmp_path / "started"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {started}\nwait\n")
    script.chmod(0o755)
    with pytest.raises(FfmpegStalled):
        run([script], stall_seconds=1)
    child = int(started.read_text())
    eventually(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_second_interrupt__finds_no_process(tmp_path: Path) -> None:
    """The process ignores SIGTERM, and Ctrl-C is pressed twice."""
    deaf = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(600)\n"
    )
    calling = (
        "import os, signal, sys\n"
        "from workers.video.ffmpeg.process import run\n"
        "def once(line):\n"
        "    print(line, flush=True)\n"
        "    raise KeyboardInterrupt\n"
        f"run([sys.executable, '-c', {deaf!r}], on_line=once)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", calling],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        with suppress(ProcessLookupError):
            caller.send_signal(signal.SIGINT)
        caller.wait(ENDING)
    eventually(lambda: not _runs(pid))


def test_line_without_end__is_refused() -> None:
    flood = "import sys\nwhile True: sys.stdout.write('x' * 65_536)"
    with pytest.raises(FfmpegCapped, match="field of metadata of more than 16 MiB"):
        run([sys.executable, "-c", flood])


def test_find_ffmpeg_prefers_the_one_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ffmpeg").symlink_to(find_ffmpeg())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == str(tmp_path / "ffmpeg")


def test_find_ffmpeg_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FfmpegMissing, match="pip install imageio-ffmpeg"):
        find_ffmpeg()
