"""Short real clips, made with ffmpeg once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workers.video.ffmpeg.process import ffmpeg_command, make_clip, run

FilmFactory = Callable[..., Path]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of 720p with sound."""
    return make_clip(tmp_path_factory.mktemp("clips") / "lecture.mp4", 3)


@pytest.fixture
def film(tmp_path: Path) -> FilmFactory:
    """Make a clip with the given arguments of ffmpeg and name."""

    def make(name: str, *arguments: str | Path) -> Path:
        path = tmp_path / name
        run(ffmpeg_command(*arguments, "-y", path))
        return path

    return make


@pytest.fixture
def out(tmp_path: Path) -> Path:
    # Per cent signs are patterns to ffmpeg's muxers: a deployment's path must not reach them.
    return tmp_path / "pub %v lished"
