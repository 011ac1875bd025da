"""The log lines of this process and its children, which are held back at first.

`jobtrail up` prints its addresses before any log line, although its processes log while they start.
Used by `ops.tasks.up`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

READ_BYTES = 65_536
DRAIN_SECONDS = 2.0
"""The time in which the last lines are written when the block ends."""


class LogRelay:
    """A pipe for log lines, whose content is passed to `write` once `release` was called.

    What is held back is kept in memory. When the block ends, everything is released.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._held: bytearray | None = bytearray()
        self._thread = threading.Thread(target=self._relay, name="log-relay", daemon=True)

    def __enter__(self) -> Self:
        self._read_end, self.fd = os.pipe()
        self.stream = os.fdopen(self.fd, "w", buffering=1, errors="backslashreplace")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lines and close the pipe; all children have ended before."""
        self.release()
        self.stream.close()
        self._thread.join(DRAIN_SECONDS)

    def release(self) -> None:
        """Write what was held back, and from now on every line as it comes."""
        with self._lock:
            if self._held is not None:
                self._write(bytes(self._held))
            self._held = None

    def _relay(self) -> None:
        while chunk := os.read(self._read_end, READ_BYTES):
            with self._lock:
                if self._held is None:
                    self._write(chunk)
                else:
                    self._held += chunk
        os.close(self._read_end)
