"""Opaque cursors of paginated lists.

A cursor belongs to one list: one tenant, one kind and one set of filters. It contains a position in
that list and a checksum over the list's identity and the position. The checksum detects a cursor
that was truncated, mistyped or sent with other filters. It is not a secret: whoever forges a cursor
gets a position in a list that they may read anyway. Used by `api.jobs.endpoint` and by the modules
of `api.operators` that answer with lists.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b

import orjson

from api.http.problems import BadRequest

MAX_LENGTH = 4_000
"""The most characters of a cursor that are accepted.

Ours have less than 2,000: that of a history contains the identity of an event, with an event id of
up to 200 characters, which JSON may escape."""

_CHECKSUM_BYTES = 8


def write_cursor(list_identity: Sequence[object], position: Sequence[str | int]) -> str:
    """Return the cursor of a position.

    Args:
        list_identity: the JSON values that distinguish the list from all others, such as the tenant
            and the filters. The page size is not part of it.
        position: the JSON values that locate the last item of the page.
    """
    content = orjson.dumps(position)
    checksum = _checksum(list_identity, content)
    return base64.urlsafe_b64encode(checksum + content).rstrip(b"=").decode()


def read_cursor(list_identity: Sequence[object], cursor: str) -> list[str | int]:
    """Return the position that `write_cursor` encoded.

    A forged cursor may hold any JSON value: the caller must check it.

    Raises:
        BadRequest: the text is not a cursor of this list.
    """
    if len(cursor) > MAX_LENGTH:
        raise BadRequest(parameter="cursor")
    try:
        raw = base64.b64decode(_padded(cursor), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise BadRequest(parameter="cursor") from None
    checksum, content = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if checksum != _checksum(list_identity, content):
        raise BadRequest(parameter="cursor")
    try:
        position: list[str | int] = orjson.loads(content)
    except ValueError:  # forged
        raise BadRequest(parameter="cursor") from None
    return position


def _padded(cursor: str) -> bytes:
    return cursor.encode("ascii") + b"=" * (-len(cursor) % 4)


def _checksum(list_identity: Sequence[object], content: bytes) -> bytes:
    identity = orjson.dumps(list_identity)
    key = blake2b(content).digest()
    return blake2b(identity, digest_size=_CHECKSUM_BYTES, key=key).digest()
