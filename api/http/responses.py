"""Responses as bytes with their headers, and the groups of headers that responses share.

Used by all endpoints of `api`, including those that Starlette's router calls.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson
import pydantic_core
from starlette.types import Send

Headers = tuple[tuple[bytes, bytes], ...]

SECURITY: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # For requests without CORS, such as another origin's <img> and <script>.
    (b"cross-origin-resource-policy", b"same-origin"),
    # Replaces the HTTP server's own value, which contains the software's name.
    (b"server", b"jobtrail"),
)
NO_STORE: Headers = ((b"cache-control", b"no-store"),)
REVALIDATED: Headers = ((b"cache-control", b"private, no-cache"),)
"""For answers that a browser's cache may keep but must revalidate before each use."""

NO_CONTENT_RUNS: Headers = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
PAGE: Headers = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'",
    ),
    (
        b"permissions-policy",
        b"accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
        b"magnetometer=(), microphone=(), midi=(), payment=(), usb=()",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
)
"""For our own pages: they may load and run files of this server only."""

JSON: Headers = ((b"content-type", b"application/json"), *NO_CONTENT_RUNS, *SECURITY)
PROBLEM: Headers = ((b"content-type", b"application/problem+json"), *NO_CONTENT_RUNS, *SECURITY)


class RawResponse(NamedTuple):
    """A complete response; `send_response` adds `content-length`."""

    status: int
    headers: Headers
    body: bytes


_LINE_BREAKS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)
"""Line separators of Unicode, in UTF-8 and as JSON escapes. Some clients split lines at them; JSON
requires escapes for control characters only."""


def json_bytes(value: object) -> bytes:
    """Return a value as JSON on one line.

    Integers may have any size; NaN and infinities become null.

    Raises:
        PydanticSerializationError: the value has a part that JSON cannot express.
    """
    try:
        written = orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits, which results of workers may contain
        written = pydantic_core.to_json(value, inf_nan_mode="null")
    for raw, escaped in _LINE_BREAKS:
        # They can occur in strings only, so the JSON means the same.
        if raw in written:
            written = written.replace(raw, escaped)
    return written


async def send_response(send: Send, response: RawResponse, *, head: bool = False) -> None:
    """Send a response; without its body if `head` is set."""
    status, headers, body = response
    length = (b"content-length", b"%d" % len(body))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            # The length in a 304 would be that of the full answer; it may be omitted.
            "headers": headers if status == 304 else (*headers, length),
        }
    )
    await send({"type": "http.response.body", "body": b"" if head else body})
