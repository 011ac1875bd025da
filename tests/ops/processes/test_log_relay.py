"""Log lines are held back until they are released, and none is lost."""

from __future__ import annotations

import os

import pytest

from ops.processes.log_relay import LogRelay
from tests.support.waiting import eventually


def test_lines_are_written_in_order_once_they_are_released() -> None:
    written = bytearray()
    with LogRelay(written.extend) as logs:
        logs.stream.write("one\n")
        os.write(logs.fd, b"two\n")
        assert written == b""
        logs.release()
        os.write(logs.fd, b"three\n")
        eventually(lambda: written == b"one\ntwo\nthree\n")
        logs.stream.write("four\n")
    assert written == b"one\ntwo\nthree\nfour\n"


def test_lines_that_were_held_back_are_written_when_the_block_fails() -> None:
    written = bytearray()

    def fail() -> None:
        with LogRelay(written.extend) as logs:
            os.write(logs.fd, b"why\n")
            raise OSError("no server")

    with pytest.raises(OSError, match="no server"):
        fail()
    assert written == b"why\n"
