"""The checkpoint of an interrupted replay: a small file for each different command.

`ops.tasks.replay` writes it after each step, and continues from it. Used by
`ops.tasks.replay.recording` and `ops.tasks.replay.replay`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from projections.replay.tenant_shares import Share
from streams.keys import JobKey


class ShareProgress(NamedTuple):
    """The progress of one share of a replay."""

    share: Share = Share()
    finished: JobKey | None = None
    """The last job that is finished; None before the first."""
    done: bool = False
    """True once the complete share is finished."""


class Checkpoint:
    """The progress of the shares of one command.

    Args:
        folder: the folder of the file; created when the file is first written.
        command: the options that distinguish this command from others; a command continues where
            one with the same options was interrupted.
    """

    def __init__(self, folder: Path, command: Mapping[str, str | None]) -> None:
        self._command = dict(command)
        identity = json.dumps(self._command, sort_keys=True).encode()
        name = f"replay-{hashlib.sha256(identity).hexdigest()[:16]}.json"
        self._file = folder / name

    def read(self) -> list[ShareProgress]:
        """Return the progress of the shares; an empty list if the command begins anew.

        A file that cannot be understood counts as missing.
        """
        try:
            saved = json.loads(self._file.read_bytes())
            if saved["command"] != self._command:
                return []
            if "shares" not in saved:  # written by a version without shares
                return [ShareProgress(finished=JobKey(*saved["finished"]))]
            return [_progress(each) for each in saved["shares"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []

    def write(self, shares: Sequence[ShareProgress]) -> None:
        """Save the progress; after a crash there is the old file or the new one.

        Raises:
            OSError: the folder cannot be written to.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".new")
        saved = {"command": self._command, "shares": [each._asdict() for each in shares]}
        temporary.write_text(json.dumps(saved))
        temporary.replace(self._file)

    def forget(self) -> None:
        """Delete the file, so that the command begins anew."""
        self._file.unlink(missing_ok=True)


def _progress(saved: Mapping[str, Any]) -> ShareProgress:
    first, end = saved["share"]
    finished = None if saved["finished"] is None else JobKey(*saved["finished"])
    return ShareProgress(Share(first, end), finished, bool(saved["done"]))
