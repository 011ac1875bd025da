"""Commands of `jobtrail` that another command of it runs as child processes.

Used by `ops.tasks.running.consumer_processes` and `ops.tasks.up`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from ops.unknown_variables import known_variables
from streams.settings import PREFIX, Settings


def own_command(*words: str) -> list[str]:
    """Return the arguments that run `jobtrail` with these words."""
    # -P: a folder named `ops` in the user's directory must not hide this package.
    return [sys.executable, "-P", "-m", "ops", *words]


def own_environ(settings: Settings, names: Iterable[str]) -> Mapping[str, str]:
    """Return this process's environment for a child, with the named settings added.

    Settings that are None are left out.
    """
    values = {name: getattr(settings, name) for name in names}
    added = {
        f"{PREFIX}{name.upper()}": str(value) for name, value in values.items() if value is not None
    }
    # This process has warned of unknown variables; each child would repeat it.
    unknown = {name for name in os.environ if name.startswith(PREFIX)} - set(known_variables())
    inherited = {name: text for name, text in os.environ.items() if name not in unknown}
    return {**inherited, **added}
