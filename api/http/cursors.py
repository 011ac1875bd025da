"""Cursors: where a list was left, as a word that means nothing to whoever keeps it.

A cursor belongs to one list: the tenant's, of one kind, with the filters it was made for. It
carries a checksum over all of these and its position. The checksum is no secret: whoever forges one
gets a place in a list of their own, which they may read anyway. It tells a cursor that was cut,
mistyped or taken to another list from a sound one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b

import orjson

from api.http.problems import BadRequest

MAX_LENGTH = 1_000
"""Characters of a cursor; ours have a few hundred at most."""

_SUM_BYTES = 8


def write_cursor(of_list: Sequence[object], position: Sequence[str | int]) -> str:
    """Give the cursor of a position; `of_list` is what the list is told by."""
    place = orjson.dumps(position)
    return base64.urlsafe_b64encode(_sum(of_list, place) + place).rstrip(b"=").decode()


def read_cursor(of_list: Sequence[object], cursor: str) -> list[str | int]:
    """Give the position back.

    Raises:
        BadRequest: it is no cursor of this list.
    """
    try:
        raw = base64.b64decode(_padded(cursor), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise BadRequest(parameter="cursor") from None
    given, place = raw[:_SUM_BYTES], raw[_SUM_BYTES:]
    if given != _sum(of_list, place):
        raise BadRequest(parameter="cursor")
    position: list[str | int] = orjson.loads(place)
    return position


def _padded(cursor: str) -> bytes:
    return cursor.encode("ascii") + b"=" * (-len(cursor) % 4)


def _sum(of_list: Sequence[object], place: bytes) -> bytes:
    told = orjson.dumps(of_list)
    return blake2b(told, digest_size=_SUM_BYTES, key=blake2b(place).digest()).digest()
