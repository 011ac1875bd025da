"""Where an interrupted replay goes on: a small file for each different command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from projections.replay.tenant_shares import Share
from streams.keys import JobKey


class Standing(NamedTuple):
    """The progress of one share of a replay."""

    share: Share = Share()
    finished: JobKey | None = None
    """The last job that is done; None before the first."""
    done: bool = False
    """True once the whole share is done."""


class Checkpoint:
    """Remembers how far the shares of a command are.

    Args:
        folder: where the file lies; made when it is first written.
        command: what makes this command another than others; two with the same go on one from
            the other.
    """

    def __init__(self, folder: Path, command: Mapping[str, str | None]) -> None:
        self._command = dict(command)
        told = json.dumps(self._command, sort_keys=True).encode()
        name = f"replay-{hashlib.sha256(told).hexdigest()[:16]}.json"
        self._file = folder / name

    def read(self) -> list[Standing]:
        """Return the shares as they stand; none where the command begins from the beginning."""
        try:
            told = json.loads(self._file.read_bytes())
            if told["command"] != self._command:
                return []
            if "shares" not in told:  # one of a version that knew no shares
                return [Standing(finished=JobKey(*told["finished"]))]
            return [_standing(each) for each in told["shares"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []

    def write(self, standings: Sequence[Standing]) -> None:
        """Remember; a crash leaves the old file or the new one.

        Raises:
            OSError: the folder cannot be written to.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(".new")
        shares = [each._asdict() for each in standings]
        beside.write_text(json.dumps({"command": self._command, "shares": shares}))
        beside.replace(self._file)

    def forget(self) -> None:
        """Begin from the beginning the next time."""
        self._file.unlink(missing_ok=True)


def _standing(told: Mapping[str, Any]) -> Standing:
    first, end = told["share"]
    finished = None if told["finished"] is None else JobKey(*told["finished"])
    return Standing(Share(first, end), finished, bool(told["done"]))
