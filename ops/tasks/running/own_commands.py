"""The command line and the environment of a `jobtrail` command that runs as a child process.

`jobtrail up` runs the consumers, the API and the demo in this way, and `jobtrail consume
--processes` its consumers. Used by `ops.tasks.running.consumer_processes` and `ops.tasks.up`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from ops.unknown_variables import known_variables
from streams.settings import PREFIX, Settings


def own_command(*words: str) -> list[str]:
    """Return the command line of `jobtrail` with these words, for this Python interpreter."""
    # -P: a folder named `ops` in the working directory must not hide this package.
    return [sys.executable, "-P", "-m", "ops", *words]


def own_environ(settings: Settings, names: Iterable[str]) -> Mapping[str, str]:
    """Return the environment of a child: that of this process, with some settings replaced.

    Args:
        settings: the settings of the child.
        names: the settings of it whose variables are set, or absent for a setting that is None.
            Each is a text, a number or a path; all others are inherited.
    """
    values = {f"{PREFIX}{name.upper()}": getattr(settings, name) for name in names}
    # This process has warned of unknown variables; each child would repeat it.
    unknown = {name for name in os.environ if name.startswith(PREFIX)} - set(known_variables())
    inherited = {
        name: text
        for name, text in os.environ.items()
        if name not in unknown and name not in values
    }
    return inherited | {name: str(value) for name, value in values.items() if value is not None}
