"""The catalogue of messages for people: the details of problems, and the texts of the console.

Each file of `messages/` is one area, such as `problems` or `jobs`, and has the translations of each
message beside each other. Where a language distinguishes plural forms, a translation is an object
of them, named as in Unicode's CLDR: `{"one": "{count} job", "other": "{count} jobs"}`. Words in
braces are values that are filled in. Used by `api.http.problems` and `api.operators.console`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import orjson

LANGUAGES = ("en", "ko")

Translation = str | Mapping[str, str]
"""The text of a message in one language, or its texts by plural form."""

Area = Mapping[str, Mapping[str, Translation]]
"""The translations by the message's key and the language."""


@cache
def catalogue() -> Mapping[str, Area]:
    """Return all messages by area."""
    folder = files("api.http").joinpath("messages")
    return {
        file.name.removesuffix(".json"): orjson.loads(file.read_bytes())
        for file in sorted(folder.iterdir(), key=lambda each: each.name)
        if file.name.endswith(".json")
    }


def problem_detail(problem_type: str, language: str) -> str:
    """Return the detail of a type of problem.

    Raises:
        KeyError: the catalogue has no such message.
    """
    text = catalogue()["problems"][problem_type][language]
    if not isinstance(text, str):
        raise KeyError(problem_type)
    return text
