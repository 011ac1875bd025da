"""The language of texts for people: Korean, or English if `Accept-Language` prefers it.

`api.application` stores the headers of the current request with `answer_to` in a context variable;
`api.http.problems` reads them when a problem is rendered. Used by `api.access.cors`,
`api.access.loopback`, `api.application` and `api.http.problems`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar

_HEADERS: ContextVar[Sequence[tuple[bytes, bytes]]] = ContextVar("request_headers", default=())
_RANGE = re.compile(
    rb"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([0-9.]{1,5})\s*)?\Z"
)


def answer_to(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Set the headers of the request that the current task answers from now on."""
    _HEADERS.set(headers)


def wants_english() -> bool:
    """Return whether the current request prefers English to Korean."""
    values = [value for name, value in _HEADERS.get() if name == b"accept-language"]
    return bool(values) and prefers_english(b",".join(values))


def prefers_english(accept_language: bytes) -> bool:
    """Return whether a header's value ranks English above Korean (RFC 9110, section 12.5.4).

    A language has its highest weight, of any country. Of two languages with equal weights, the
    first one wins. `*` stands for Korean unless the header names it. Parts that are not valid are
    ignored.
    """
    ranks: dict[bytes, tuple[float, int]] = {}
    for index, part in enumerate(accept_language.split(b",")):
        found = _RANGE.match(part)
        if found is not None:
            language, weight = found[1].lower(), _weight(found[2])
            if weight is not None:
                ranks[language] = max(ranks.get(language, (0.0, -index)), (weight, -index))
    english = ranks.get(b"en", (0.0, 0))
    korean = ranks.get(b"ko", ranks.get(b"*", (0.0, 0)))
    return english[0] > 0 and english > korean


def _weight(text: bytes | None) -> float | None:
    """Return a weight, 1 at most and by default; None if the text is not a number."""
    try:
        return 1.0 if text is None else min(float(text), 1.0)
    except ValueError:
        return None
