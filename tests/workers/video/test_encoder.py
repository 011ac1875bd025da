from __future__ import annotations

import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil  # type: ignore[import-untyped]
import pytest
import redis

from streams.reporter import Reporter
from tests.support.encoding import (
    PICTURE,
    RecordingJob,
    RecordingReporter,
    encoded,
    ffmpegs,
    left_in,
    playable_seconds,
    refused,
    segments,
)
from workers.video import workspace as workspaces
from workers.video.encoder import STEPS, Encoded, SourceMissing, VideoError, encode
from workers.video.ffmpeg.probe import Video
from workers.video.ffmpeg.process import ffmpeg_command, run
from workers.video.hls import Rendition, renditions
from workers.video.rendering import Limits
from workers.video.workspace import publish, workspace

Film = Callable[..., Path]


def test_encode_makes_a_playable_playlist_of_two_renditions(clip: Path, out: Path) -> None:
    job = RecordingJob()
    result = encoded(clip, out, job)
    assert result == Encoded(str(out / "42" / "v:7" / "1" / "master.m3u8"), 3)
    assert job.ends == [("done", {"hls_path": result.hls_path, "duration": 3})]
    assert playable_seconds(result.hls_path) == pytest.approx(3, abs=0.1)
    master = Path(result.hls_path).read_text()
    assert re.findall(r"RESOLUTION=(\d+x\d+)", master) == ["1280x720", "640x360"]
    assert left_in(out) == [out / "42"]


def test_encode_makes_a_real_thumbnail(clip: Path, out: Path) -> None:
    picture = Path(encoded(clip, out, RecordingJob()).hls_path).with_name("thumbnail.jpg")
    assert picture.read_bytes()[:3] == b"\xff\xd8\xff"
    run(ffmpeg_command("-xerror", "-i", picture, "-f", "null", "-"))


def test_encode_reports_seven_steps_in_order_with_a_percent_that_only_grows(
    clip: Path, out: Path
) -> None:
    job = RecordingJob()
    encoded(clip, out, job)
    said = dict.fromkeys((s["step_index"], s["step"], s["step_name_display"]) for s in job.steps)
    assert list(said) == [(i, step.name, step.display) for i, step in enumerate(STEPS, 1)]
    assert {s["step_total"] for s in job.steps} == {7}
    percents = [s["percent"] for s in job.steps]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    assert all(job.of(step.name)[-1]["percent"] == step.end_percent for step in STEPS)
    assert all(job.of(step.name)[-1]["step_percent"] == 100 for step in STEPS)


def test_encode_reports_transcoding_from_ffmpegs_own_progress(clip: Path, out: Path) -> None:
    job = RecordingJob()
    encoded(clip, out, job)
    midway = [s for s in job.of("transcoding") if 0 < s["step_percent"] < 100]
    assert len({s["percent"] for s in midway}) >= 2
    assert all(20 < s["percent"] < 85 for s in midway)
    estimates = [s["remaining_seconds"] for s in midway if s["remaining_seconds"] is not None]
    assert estimates
    assert min(estimates) >= 0


def test_encode_cuts_renditions_at_the_same_keyframes(film: Film, out: Path) -> None:
    source = film("long.mp4", *PICTURE, "testsrc2=size=854x480:rate=25:duration=9")
    folder = Path(encoded(source, out, RecordingJob()).hls_path).parent
    assert segments(folder / "480p" / "index.m3u8") == [4.0, 4.0, 1.0]
    assert segments(folder / "360p" / "index.m3u8") == [4.0, 4.0, 1.0]


def test_encode_reports_its_identity(clip: Path, out: Path) -> None:
    reporter = RecordingReporter(RecordingJob())
    result = encode(clip, tenant="t", video_id="9", output_dir=out, reporter=reporter, attempt=3)
    assert reporter.identity == {
        "id": "9",
        "tenant": "t",
        "kind": "video",
        "job_type": "hls",
        "attempt": 3,
    }
    assert Path(result.hls_path).parent == out / "t" / "9" / "3"


def test_encode_reports_through_the_sdk(
    clip: Path, out: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    reporter = Reporter.from_url(redis_url)
    result = encode(clip, tenant="42", video_id="7", output_dir=out, reporter=reporter)
    entries: Any = redis_client.xrange("tenant:42:events")
    events = [orjson.loads(fields[b"event"]) for _, fields in entries]
    assert Counter(event["type"] for event in events).keys() == {"processing", "progress", "done"}
    assert events[-1]["result"] == {"hls_path": result.hls_path, "duration": 3}
    assert {(event["kind"], event["id"], event["job_type"]) for event in events} == {
        ("video", "7", "hls")
    }


@pytest.mark.parametrize(
    ("name", "arguments", "sizes"),
    [
        ("silent.mp4", (*PICTURE, "testsrc2=size=640x360:duration=1"), ["640x360"]),
        ("odd.mkv", (*PICTURE, "testsrc2=size=321x243:duration=1"), ["320x242"]),
        ("bare.h264", (*PICTURE, "testsrc2=size=320x240:duration=2"), ["320x240"]),
        ("web.webm", (*PICTURE, "testsrc2=size=320x240:duration=1"), ["320x240"]),
        ("upright.mp4", (*PICTURE, "testsrc2=size=540x960:duration=1"), ["540x960", "360x640"]),
    ],
)
def test_encode_takes_all_sorts_of_films(
    film: Film, out: Path, name: str, arguments: tuple[str, ...], sizes: list[str]
) -> None:
    result = encoded(film(name, *arguments), out, RecordingJob())
    assert re.findall(r"RESOLUTION=(\d+x\d+)", Path(result.hls_path).read_text()) == sizes
    assert playable_seconds(result.hls_path) == pytest.approx(result.duration, abs=0.1)


def test_encode_takes_a_recording_whose_time_starts_late(film: Film, clip: Path, out: Path) -> None:
    late = film("late.mkv", "-i", clip, "-c", "copy", "-output_ts_offset", "100")
    assert encoded(late, out, RecordingJob()).duration == 3


def test_renditions_never_scale_up_and_have_even_sides() -> None:
    assert renditions(Video(0, 1920, 1080)) == (Rendition(1280, 720), Rendition(640, 360))
    assert renditions(Video(0, 719, 1279)) == (Rendition(718, 1278), Rendition(360, 640))
    assert renditions(Video(0, 427, 241)) == (Rendition(426, 240),)


def test_encode_refuses_garbage_with_ffmpegs_reason(tmp_path: Path, out: Path) -> None:
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(bytes(range(256)) * 400)
    code, message = refused(garbage, out)
    assert code == "ffmpeg"
    assert re.fullmatch(r"garbage\.mp4: .*Invalid data found when processing input", message)


def test_encode_refuses_a_cut_off_file(clip: Path, tmp_path: Path, out: Path) -> None:
    whole = clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 3])
    code, message = refused(cut, out)
    assert code == "invalid"
    assert re.match(r"cut\.mp4: [01]\.\d s of 3\.0 s came through: \w", message)


def test_encode_refuses_sound_without_pictures(film: Film, out: Path) -> None:
    song = film("song.mp3", *PICTURE, "sine=duration=1")
    assert refused(song, out) == ("no_video", "song.mp3: holds no video stream that can be read")


def test_encode_refuses_an_empty_file(tmp_path: Path, out: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert refused(tmp_path / "empty.mp4", out) == ("empty", "empty.mp4: is empty")


@pytest.mark.parametrize("name", ["no.mp4", "lecture.mp4/below.mp4", "n" * 300, "nul\0.mp4"])
def test_encode_of_a_path_that_leads_nowhere_is_the_callers_mistake_and_no_failed_job(
    clip: Path, out: Path, name: str
) -> None:
    job = RecordingJob()
    with pytest.raises(SourceMissing, match="there is no such file") as caught:
        encoded(clip.parent / name, out, job)
    assert caught.value.code == "missing"
    assert (job.steps, job.ends, left_in(out)) == ([], [], [])


def test_encode_refuses_a_folder(tmp_path: Path, out: Path) -> None:
    assert refused(tmp_path, out)[0] == "unreadable"


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {path}\n",
    ],
)
def test_encode_refuses_lists_that_name_other_files(
    clip: Path, tmp_path: Path, out: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text.format(path=clip))
    code, message = refused(tmp_path / name, out)
    assert code in {"format", "ffmpeg"}
    assert code == "format" or "Invalid data" in message


def test_encode_says_when_the_disk_is_too_full(
    clip: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(clip.parent)._replace(free=3 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    code, message = refused(clip, out)
    assert code == "no_space"
    assert "3 MiB are" in message


def test_encode_says_when_the_output_cannot_be_written(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    job = RecordingJob()
    with pytest.raises(VideoError, match="Not a directory"):
        encoded(clip, tmp_path / "file" / "below", job)
    assert [end for end, _ in job.ends] == ["failed"]


@pytest.mark.parametrize(
    ("tenant", "video_id", "attempt"), [("../42", "v", 1), ("42", "../v", 1), ("42", "v", 0)]
)
def test_encode_refuses_an_identity_that_is_no_folder_name(
    clip: Path, out: Path, tenant: str, video_id: str, attempt: int
) -> None:
    job = RecordingJob()
    reporter = RecordingReporter(job)
    with pytest.raises(VideoError) as caught:
        encode(
            clip,
            tenant=tenant,
            video_id=video_id,
            output_dir=out,
            reporter=reporter,
            attempt=attempt,
        )
    assert caught.value.code == "identity"
    assert (job.steps, job.ends, left_in(out)) == ([], [], [])


@pytest.fixture
def sigint(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set the handling of SIGINT, whatever this process inherited from its shell."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("sigint", [signal.default_int_handler], indirect=True, ids=["python"])
@pytest.mark.usefixtures("sigint")
def test_encode_interrupted_ends_ffmpeg_and_leaves_nothing(clip: Path, out: Path) -> None:
    children: list[psutil.Process] = []

    def interrupt(step: str, fields: dict[str, Any]) -> None:
        if step == "transcoding" and fields["step_percent"] > 0:
            children.extend(ffmpegs())
            signal.raise_signal(signal.SIGINT)

    job = RecordingJob(interrupt)
    with pytest.raises(KeyboardInterrupt):
        encoded(clip, out, job)
    assert job.ends == [("cancelled", None)]
    assert len(children) == 1
    assert not children[0].is_running()
    assert left_in(out) == []


@pytest.mark.parametrize("sigint", [signal.SIG_IGN], indirect=True, ids=["ignored"])
@pytest.mark.usefixtures("sigint")
def test_encode_goes_on_where_sigint_is_ignored(film: Film, out: Path) -> None:
    def interrupt(step: str, _fields: dict[str, Any]) -> None:
        if step == "transcoding":
            signal.raise_signal(signal.SIGINT)

    job = RecordingJob(interrupt)
    encoded(film("short.mp4", *PICTURE, "testsrc2=size=64x36:duration=1"), out, job)
    assert [end for end, _ in job.ends] == ["done"]


def test_encode_ends_an_ffmpeg_that_hangs(clip: Path, out: Path) -> None:
    def hang(step: str, _fields: dict[str, Any]) -> None:
        # The first report of the step comes before ffmpeg is started.
        if step == "transcoding":
            for child in ffmpegs():
                child.suspend()

    job = RecordingJob(hang)
    with pytest.raises(VideoError, match="no progress for 2 s") as caught:
        encoded(clip, out, job, Limits(stall_seconds=2, report_seconds=0.05))
    assert caught.value.code == "stalled"
    assert [end for end, _ in job.ends] == ["failed"]
    assert ffmpegs() == []
    assert left_in(out) == []


def test_encode_again_replaces_the_earlier_result(clip: Path, film: Film, out: Path) -> None:
    first = encoded(clip, out, RecordingJob())
    small = film("small.mp4", *PICTURE, "testsrc2=size=320x240:duration=1")
    second = encoded(small, out, RecordingJob())
    assert second == Encoded(first.hls_path, 1)
    assert sorted(path.name for path in Path(second.hls_path).parent.iterdir()) == [
        "240p",
        "master.m3u8",
        "thumbnail.jpg",
    ]
    assert left_in(out) == [out / "42"]


def test_encode_keeps_the_earlier_result_when_a_re_run_fails(
    clip: Path, tmp_path: Path, out: Path
) -> None:
    first = encoded(clip, out, RecordingJob())
    (tmp_path / "broken.mp4").write_bytes(b"broken")
    with pytest.raises(VideoError):
        encoded(tmp_path / "broken.mp4", out, RecordingJob())
    assert playable_seconds(first.hls_path) == pytest.approx(3, abs=0.1)


def test_encode_copies_with_progress_where_no_link_is_possible(
    clip: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(workspaces, "_COPY_BYTES", clip.stat().st_size // 4)
    job = RecordingJob()
    encoded(clip, out, job)
    assert len(job.of("downloading")) >= 4


def test_publish_puts_the_old_result_back_when_the_rename_fails(tmp_path: Path) -> None:
    target = tmp_path / "1"
    target.mkdir()
    (target / "old").touch()
    (tmp_path / "work").mkdir()
    with pytest.raises(FileNotFoundError):
        workspaces._replace(tmp_path / "work" / "absent", target)
    assert (target / "old").exists()


def test_publish_replaces_the_whole_folder(tmp_path: Path) -> None:
    for name in ("work/hls/new", "1/old"):
        (tmp_path / name).mkdir(parents=True)
    publish(tmp_path / "work" / "hls", tmp_path / "1")
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["new"]


def test_workspace_sweeps_what_the_dead_left_and_spares_the_living(tmp_path: Path) -> None:
    (tmp_path / ".encoding-dead").mkdir()
    (tmp_path / ".encoding-dead" / "segment").touch()
    with workspace(tmp_path) as living, workspace(tmp_path) as mine:
        assert sorted(tmp_path.iterdir()) == sorted((living, mine))
    assert list(tmp_path.iterdir()) == []
