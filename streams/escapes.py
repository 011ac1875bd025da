"""Escapes in JSON of characters that the stores cannot hold.

PostgreSQL's text cannot hold NUL, and UTF-8 cannot hold half of a surrogate pair, which
`json.dumps` writes for a file name in another encoding. Used by `streams.events`,
`api.jobs`, `consumers.dead_letters` and `ops.tasks`.
"""

from __future__ import annotations

import re

NUL = rb"\u0000"
_SURROGATE, _REPLACED = re.compile(rb"\\u[dD][89a-fA-F]"), rb"\ufffd"
# Complete escapes, so that an escaped backslash is skipped; a pair of surrogates is one match.
_ESCAPE = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)


def storable(raw: bytes) -> bytes:
    """Return the same JSON with U+FFFD for NUL and for each half of a pair of surrogates."""
    if NUL not in raw and not _SURROGATE.search(raw):
        return raw
    return _ESCAPE.sub(_replacement, raw)


def _replacement(match: re.Match[bytes]) -> bytes:
    lone = match[0] == NUL or (not match[1] and _SURROGATE.match(match[0]))
    return _REPLACED if lone else match[0]
