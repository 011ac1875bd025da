"""Kinds of jobs: the names of each kind in answers, in URLs and in documents.

A *kind* is one entry: its name, the words for its states, the path of its endpoints and the fields
of its result. `KINDS` has the built-in entries and those that installed packages add through the
entry point group `jobtrail.kinds` (`streams/kind_packages.py`). Used by all packages: whatever
differs between kinds comes from these entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from .runtime.environment import SettingsError

KINDS: Mapping[str, Kind]
"""All kinds by name. They are collected when this name is first imported or used, which takes some
milliseconds; `find_kind` is for code that must start fast."""


class InvalidKind(SettingsError):
    """An installed package adds a kind that is not valid; the message names the package."""


class State(StrEnum):
    """State of a job, which is the state of its highest attempt."""

    QUEUED = "queued"
    """Accepted; it waits for a worker."""
    PROCESSING = "processing"
    """A worker runs it. The worker, a cancellation or the reaper of stalled jobs ends it."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True if only a higher attempt can follow, or `done` after one of the other ends."""
        return self in _ENDED

    @property
    def rank(self) -> int:
        """Place in the order in which states of one attempt replace one another."""
        return _RANKS[self]


_ENDED = frozenset({State.DONE, State.FAILED, State.CANCELLED})
_RANKS = {
    State.QUEUED: 0,
    State.PROCESSING: 1,
    State.FAILED: 2,
    State.CANCELLED: 2,
    State.DONE: 3,
}

JOB_WORDS = MappingProxyType(
    {
        State.QUEUED: "PENDING",
        State.PROCESSING: "PROCESSING",
        State.DONE: "DONE",
        State.FAILED: "FAILED",
        State.CANCELLED: "CANCELLED",
    }
)


@dataclass(frozen=True)
class Kind:
    """Entry of one kind of jobs."""

    name: str
    """Name in events, keys and rows."""
    url: str
    """Path prefix of its endpoints, without a slash at the end."""
    plural: str
    """Name of a list of its ids, in a query for many jobs and in a token."""
    words: Mapping[State, str] = field(default_factory=lambda: JOB_WORDS)
    """Word of each state in documents, rows and answers."""
    id_field: str = "id"
    """Field of the progress answer that has the id."""
    error_field: str = "error_message"
    """Field of documents and answers that has the text of a failure or cancellation."""
    result_fields: tuple[str, ...] | None = None
    """Keys of the result that answers have as fields; None: the whole result, as `result`."""
    progress_prefix: str | None = None
    """Prefix of the progress fields in the progress answer; None: they are in `progress`."""
    numeric_id: bool = False
    """True if an id that consists of digits is a number in answers."""
    step_shares: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Overall percent by the name of a step, for progress events without a percent."""
    legacy_prefix: str | None = None
    """Prefix of the progress keys that workers wrote before keys contained the tenant."""

    def state_of(self, word: str) -> State:
        """Return the state that one of this kind's words means.

        Raises:
            ValueError: the kind has no such word.
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
    id_field="job_id",
    legacy_prefix="job:",
)

VIDEO = Kind(
    name="video",
    url="/media/videos",
    plural="videos",
    words=MappingProxyType({**JOB_WORDS, State.QUEUED: "UPLOADED", State.DONE: "READY"}),
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
    legacy_prefix="job:video:",
)

BUILT_IN: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in (JOB, VIDEO)})


def find_kind(name: str) -> Kind | None:
    """Return the kind of a name, or None. Installed packages are searched for unknown names only.

    Raises:
        InvalidKind: an installed package adds a kind that is not valid.
    """
    return BUILT_IN.get(name) or _all_kinds().get(name)


def _all_kinds() -> Mapping[str, Kind]:
    kinds: Mapping[str, Kind] | None = globals().get("KINDS")
    if kinds is None:
        from .kind_packages import installed_kinds  # noqa: PLC0415 - takes 20 ms

        kinds = globals()["KINDS"] = installed_kinds(BUILT_IN)
    return kinds


def __getattr__(name: str) -> Any:
    if name == "KINDS":
        return _all_kinds()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
