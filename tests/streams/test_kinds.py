from __future__ import annotations

import pytest

from streams.kinds import KINDS, Kind, State


def test_the_two_kinds_are_those_of_the_contract() -> None:
    assert set(KINDS) == {"job", "video"}
    assert {name: dict(kind.words) for name, kind in KINDS.items()} == {
        "job": {
            State.QUEUED: "PENDING",
            State.PROCESSING: "PROCESSING",
            State.DONE: "DONE",
            State.FAILED: "FAILED",
            State.CANCELLED: "CANCELLED",
        },
        "video": {
            State.QUEUED: "UPLOADED",
            State.PROCESSING: "PROCESSING",
            State.DONE: "READY",
            State.FAILED: "FAILED",
            State.CANCELLED: "CANCELLED",
        },
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_kind_is_complete(kind: Kind) -> None:
    """An entry of the table must have all states, and one word for each."""
    assert set(kind.words) == set(State)
    assert len(set(kind.words.values())) == len(State)
    assert all(kind.state_of(word) is state for state, word in kind.words.items())
    assert KINDS[kind.name] is kind
    assert kind.url.startswith("/")
    assert not kind.url.endswith("/")
    assert all(0 <= share <= 100 for share in kind.step_shares.values())


@pytest.mark.parametrize("attribute", ["url", "plural", "name"])
def test_kinds_never_share_an_address(attribute: str) -> None:
    assert len({getattr(kind, attribute) for kind in KINDS.values()}) == len(KINDS)


def test_word_of_another_kind_is_no_status() -> None:
    with pytest.raises(ValueError, match="'READY' is no status of a job: PENDING"):
        KINDS["job"].state_of("READY")


def test_ended_states_are_done_failed_and_cancelled() -> None:
    assert {state for state in State if state.ended} == {State.DONE, State.FAILED, State.CANCELLED}
