"""The checkpoints of interrupted replays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from projections.replay.checkpoint import Checkpoint, ShareProgress
from projections.replay.tenant_shares import Share
from streams.keys import JobKey


def test_checkpoint__of_another_command__is_not_taken(tmp_path: Any) -> None:
    mine = Checkpoint(tmp_path / "new", {"projection": "rows"})
    assert mine.read() == []
    standings = [
        ShareProgress(Share(None, "5"), JobKey("1", "job", "a")),
        ShareProgress(Share("5", None), None, done=True),
    ]
    mine.write(standings)
    assert Checkpoint(tmp_path / "new", {"projection": "rows"}).read() == standings
    assert Checkpoint(tmp_path / "new", {"projection": "status"}).read() == []
    mine.forget()
    assert mine.read() == []


def test_checkpoint__of_a_version_without_shares__is_gone_on_from(tmp_path: Path) -> None:
    command = {"projection": "rows"}
    Checkpoint(tmp_path, command).write([])
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"command": command, "finished": ["1", "job", "a"]}))
    assert Checkpoint(tmp_path, command).read() == [ShareProgress(finished=JobKey("1", "job", "a"))]
