"""Servers and tools from unpacked Debian packages: versions other than the embedded ones.

`.ci/run` unpacks them into the folder that `JOBTRAIL_TEST_DEBIAN` names. Elsewhere they may be
installed. A test that finds neither is skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

FOLDER = "JOBTRAIL_TEST_DEBIAN"


def debian_program(name: str) -> Path:
    """Return the path of a program, such as `redis-server`, or skip the test without one."""
    root = os.environ.get(FOLDER)
    folders = [f"{root}/usr/bin", f"{root}/usr/sbin"] if root else []
    search = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=search)
    if found is None:
        pytest.skip(f"no {name}: unpack its Debian package and name the folder in {FOLDER}")
    return Path(found)


def debian_environ() -> Mapping[str, str]:
    """Return an environment in which those programs find their libraries."""
    root = os.environ.get(FOLDER)
    if not root:
        return dict(os.environ)
    libraries = [str(each) for each in Path(root, "usr/lib").glob("*-linux-gnu")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def debian_command(name: str) -> list[str]:
    """Return the beginning of a command line that runs such a program in its environment."""
    program = str(debian_program(name))
    path = debian_environ().get("LD_LIBRARY_PATH", "")
    return ["/usr/bin/env", f"LD_LIBRARY_PATH={path}", program]
