"""The command `jobtrail`: its start, before any package of the service is imported.

The service's packages have names that applications use too (`api`, `workers`, ...). This module is
none of them, so that it still runs where one of them is hidden by another package of that name.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

PACKAGES = ("api", "consumers", "ops", "projections", "sql", "streams", "workers")
"""The packages of the service, which are installed beside this module."""

_HERE = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - importing pathlib takes longer


def main() -> None:
    """Run the command line; an interrupt that comes while it is imported is obeyed too."""
    try:
        if problem := hidden_package():
            sys.exit(f"jobtrail: {problem}")
        # First of all: nothing may be opened while a standard stream is closed.
        from ops.cli import main as run  # noqa: PLC0415 - takes a second, in which Ctrl-C may come
        from ops.command_line import standard_streams  # noqa: F401, PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(130)


def hidden_package() -> str | None:
    """Return the line about a package of the service that another one hides, or None."""
    for name in PACKAGES:
        path = _path_of(name)
        if path is not None and not _is_ours(name, path):
            shown = path if path.isprintable() else ascii(path)
            return f"{shown} hides the package {name!r} of jobtrail: {_remedy(path)}"
    return None


def _path_of(name: str) -> str | None:
    """Return the path that the name is imported from; None where nothing has that name."""
    try:
        spec = find_spec(name)
    except ValueError:  # imported already, by something that made it by hand
        return f"a module {name!r} in memory"
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return folders[0] if folders else spec.origin


def _is_ours(name: str, path: str) -> bool:
    return os.path.realpath(path) == os.path.join(_HERE, name)  # noqa: PTH118 - as above


def _remedy(path: str) -> str:
    folder = os.path.realpath(os.path.dirname(path))  # noqa: PTH120 - as above
    variable = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder in map(os.path.realpath, filter(None, variable)):
        return "start jobtrail without its folder in PYTHONPATH"
    if sys.path and folder == os.path.realpath(sys.path[0]):
        return "start jobtrail in another folder"
    return "install jobtrail in a virtual environment of its own"
