"""Entity tags (RFC 9110, section 8.8.3): callers that have an answer already get 304.

Used by `api.answers.rendered`, `api.http.static_files`, `api.operators.gate`, `api.progress` and
`api.spec.document`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

_CODING = rb"[-;:+.]{1,2}(?:(?:x-)?gzip|br|zstd|deflate|compress|dcb|dcz)"
_CODINGS = re.compile(rb"(?:%b)*" % _CODING)
"""Suffixes that compressing proxies add: `"x-gzip"` (Apache), `"x--gzip"` (Jetty), `"x;br"`."""
_TAG = re.compile(
    # Old versions of Apache append the suffix after the closing quote.
    rb'(?:\A|,)[ \t]*(?:W/)?"([!#-~\x80-\xff]*)"(?:%b)?(?=[ \t]*(?:,|\Z))' % _CODING
)


def etag_of(body: bytes) -> bytes:
    """Return the strong entity tag of an answer; equal answers have equal tags."""
    return b'"%b"' % blake2b(body, digest_size=8).hexdigest().encode()


def known_tags(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the value of `If-None-Match`, joined from all its lines; None without the header."""
    found = [value for name, value in headers if name == b"if-none-match"]
    return b",".join(found) if found else None


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Return whether a value of `If-None-Match` (`*`, a tag or a list) matches a tag of ours.

    Weak tags match too, and so do tags with the suffix of a compressing proxy. Text that is not a
    valid tag matches nothing.
    """
    if if_none_match == etag or if_none_match.strip() == b"*":
        return True
    opaque = etag[1:-1]
    return any(
        tag.startswith(opaque) and _CODINGS.fullmatch(tag, len(opaque)) is not None
        for tag in _TAG.findall(if_none_match)
    )


def is_not_modified(headers: Iterable[tuple[bytes, bytes]], etag: bytes) -> bool:
    """Return whether a request's `If-None-Match` matches a tag, so that the status must be 304."""
    known = known_tags(headers)
    return known is not None and matches(known, etag)
