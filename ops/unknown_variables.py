"""Warnings about `JOBTRAIL_` variables that are not settings.

Used by `ops.cli` and `ops.tasks.running.own_commands`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from ops.addresses import TEST_PREFIX, Addresses, only_plain_variables
from streams.runtime.environment import PREFIX

OTHERS = ("ROSTER_PASSWORD",)
"""Known variables that are not settings."""


def known_variables() -> list[str]:
    """Return the names of all known variables, with those that `jobtrail env` exports."""
    from streams.settings import Settings  # noqa: PLC0415 - only where a variable is not plain

    exported = [f"{name}_url" for name in Addresses._fields]
    return [PREFIX + name.upper() for name in (*Settings.model_fields, *exported, *OTHERS)]


def unknown_variables(environ: Mapping[str, str], words: Sequence[str]) -> Iterator[str]:
    """Yield one line for each unknown variable, with the nearest known one.

    A variable that is named in `words`, the command line, counts as known: `--initial-password-env`
    takes the name of any variable.
    """
    if only_plain_variables(environ):
        return
    known = known_variables()
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or name in known:
            continue
        if not any(name in word for word in words):
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
            yield f"{name} is not a setting: did you mean {nearest[0]}?"
