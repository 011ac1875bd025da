"""Responses: bytes with the headers that every one of ours carries."""

from __future__ import annotations

from typing import NamedTuple

import orjson
import pydantic_core
from starlette.types import Send

Headers = tuple[tuple[bytes, bytes], ...]

SECURITY: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # Only requests that ignore CORS look at this: another origin's <img> and <script>.
    (b"cross-origin-resource-policy", b"same-origin"),
    # Instead of the HTTP server's own, which says what software it is.
    (b"server", b"jobtrail"),
)
NO_STORE: Headers = ((b"cache-control", b"no-store"),)
REVALIDATED: Headers = ((b"cache-control", b"private, no-cache"),)
"""Each reader's own cache may keep it, and has to ask at every use whether it still stands."""

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
"""What our own pages may do: run and load what this server serves, and nothing else."""

JSON: Headers = ((b"content-type", b"application/json"), *NO_CONTENT_RUNS, *SECURITY)
PROBLEM: Headers = ((b"content-type", b"application/problem+json"), *NO_CONTENT_RUNS, *SECURITY)


class Response(NamedTuple):
    """A whole answer; `content-length` is added when it is sent."""

    status: int
    headers: Headers
    body: bytes


_LINE_BREAKS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)
"""Characters at which some readers of lines split, beside the control characters that JSON always
escapes: in UTF-8, and as escapes."""


def json_bytes(value: object) -> bytes:
    """Return a value as JSON on one line.

    Integers may have any size; NaN and infinities become null.
    """
    try:
        written = orjson.dumps(value)
    except TypeError:  # orjson stops at 64 bits, workers' results need not
        written = pydantic_core.to_json(value, inf_nan_mode="null")
    for raw, escaped in _LINE_BREAKS:
        # Only strings can contain them, so that the result is the same JSON.
        if raw in written:
            written = written.replace(raw, escaped)
    return written


async def send_response(send: Send, response: Response, *, head: bool = False) -> None:
    """Send it; the answer to a HEAD request is all but the body."""
    status, headers, body = response
    length = (b"content-length", b"%d" % len(body))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            # A 304 may only name the length of what it stands for, which nobody misses.
            "headers": headers if status == 304 else (*headers, length),
        }
    )
    await send({"type": "http.response.body", "body": b"" if head else body})
