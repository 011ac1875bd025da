"""Entity tags: a reader that has an answer already is told so in a few bytes (RFC 9110, 8.8.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

_CODING = rb"[-;:+.]{1,2}(?:(?:x-)?gzip|br|zstd|deflate|compress|dcb|dcz)"
_CODINGS = re.compile(rb"(?:%b)*" % _CODING)
"""Suffixes of tags from compressing proxies: `"x-gzip"` (Apache), `"x--gzip"` (Jetty), `"x;br"`"""
_TAG = re.compile(
    # Old versions of Apache append behind the closing quote.
    rb'(?:\A|,)[ \t]*(?:W/)?"([!#-~\x80-\xff]*)"(?:%b)?(?=[ \t]*(?:,|\Z))' % _CODING
)


def etag_of(body: bytes) -> bytes:
    """Return the strong tag of an answer; equal answers have equal tags."""
    return b'"%b"' % blake2b(body, digest_size=8).hexdigest().encode()


def known_tags(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the value of `If-None-Match`, of all its lines; None where a request has none."""
    found = [value for name, value in headers if name == b"if-none-match"]
    return b",".join(found) if found else None


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Return whether a value (`*`, one tag or a list) covers a tag of ours.

    A weak tag covers it too, and so does one that names the coding which a proxy applied to the
    answer. What is not of the form of a tag covers nothing.
    """
    if if_none_match == etag or if_none_match.strip() == b"*":
        return True
    opaque = etag[1:-1]
    return any(
        tag.startswith(opaque) and _CODINGS.fullmatch(tag, len(opaque)) is not None
        for tag in _TAG.findall(if_none_match)
    )


def is_known(headers: Iterable[tuple[bytes, bytes]], etag: bytes) -> bool:
    """Return whether a request names this tag as known, so that 304 is the answer."""
    known = known_tags(headers)
    return known is not None and matches(known, etag)
