"""Kinds of job: one engine, one table.

A *kind* says how a job is called where people read it: the words for its states, its URL, the names
of its result fields. The engine never branches on a kind; a third one is a third entry in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a job's winning attempt stands."""

    QUEUED = "queued"
    """Accepted; ended by the worker that takes it."""
    PROCESSING = "processing"
    """A worker is at it; ended by that worker, by a cancellation, or by the reaper."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing but a higher attempt (or `done` over the others) follows."""
        return self in _ENDED


_ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED})


@dataclass(frozen=True)
class Kind:
    """The vocabulary of one kind of job."""

    name: str
    url: str
    """Path prefix of its endpoints, without the trailing slash."""
    plural: str
    """Its name in a query for many and in a token's list of ids."""
    words: Mapping[State, str]
    id_field: str
    """What the progress answer calls the id."""
    error_field: str
    """What documents and answers call the text of a failure or cancellation."""
    result_fields: tuple[str, ...] | None = None
    """Keys of the result that stand beside the status; None: the whole of it, as `result`."""
    progress_prefix: str | None = None
    """Progress stands flat in the answer under this prefix; None: as the object `progress`."""
    numeric_id: bool = False
    """Whether an id made of digits is answered as a number."""
    step_shares: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Overall percent that a step stands for when its event gives none."""

    def state_of(self, word: str) -> State:
        """Give the state that one of this kind's words means.

        Raises:
            ValueError: no such word.
        """
        for state, known in self.words.items():
            if known == word:
                return state
        raise ValueError(
            f"{word!r} is no status of a {self.name}: {', '.join(self.words.values())}"
        )


JOB = Kind(
    name="job",
    url="/api/v1/jobs",
    plural="jobs",
    words=MappingProxyType(
        {
            State.QUEUED: "PENDING",
            State.PROCESSING: "PROCESSING",
            State.DONE: "DONE",
            State.FAILED: "FAILED",
            State.CANCELLED: "CANCELLED",
        }
    ),
    id_field="job_id",
    error_field="error_message",
)

VIDEO = Kind(
    name="video",
    url="/media/videos",
    plural="videos",
    words=MappingProxyType(
        {
            State.QUEUED: "UPLOADED",
            State.PROCESSING: "PROCESSING",
            State.DONE: "READY",
            State.FAILED: "FAILED",
            State.CANCELLED: "CANCELLED",
        }
    ),
    id_field="id",
    error_field="error_reason",
    result_fields=("hls_path", "duration"),
    progress_prefix="encoding_",
    numeric_id=True,
    step_shares=MappingProxyType(
        {
            "presigning": 5,
            "downloading": 10,
            "probing": 15,
            "transcoding": 50,
            "thumbnail": 85,
            "validating": 90,
            "publishing": 97,
        }
    ),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in (JOB, VIDEO)})
