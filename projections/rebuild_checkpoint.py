"""Where an interrupted replay goes on: a small file for each different command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from streams.keys import JobKey


class Checkpoint:
    """Remembers the last job that a command has finished.

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

    def read(self) -> JobKey | None:
        """Give the job after which to go on; None from the beginning."""
        try:
            told = json.loads(self._file.read_bytes())
            if told["command"] != self._command:
                return None
            tenant, kind, job_id = told["finished"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return JobKey(tenant, kind, job_id)

    def write(self, finished: JobKey) -> None:
        """Remember; a crash leaves the old file or the new one.

        Raises:
            OSError: the folder cannot be written to.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(".new")
        beside.write_text(json.dumps({"command": self._command, "finished": list(finished)}))
        beside.replace(self._file)

    def forget(self) -> None:
        """Begin from the beginning the next time."""
        self._file.unlink(missing_ok=True)
