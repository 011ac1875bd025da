"""Entity tags: a reader that has an answer already is told so in a few bytes (RFC 9110, 8.8.3)."""

from __future__ import annotations

from hashlib import blake2b


def etag_of(body: bytes) -> bytes:
    """Give the strong tag of an answer: equal answers have equal tags."""
    return b'"%b"' % blake2b(body, digest_size=8).hexdigest().encode()


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Tell whether a header's value (one tag, a list, or `*`) covers the tag; W/ does not count."""
    return if_none_match == etag or any(
        part.strip().removeprefix(b"W/") in (etag, b"*") for part in if_none_match.split(b",")
    )
