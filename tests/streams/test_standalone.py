from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

WORKER = """
import importlib.abc, sys

OURS = {"streams", "redis", "hiredis", "orjson", "pydantic", "pydantic_core"}
THEIRS = {"annotated_types", "typing_extensions", "typing_inspection", "async_timeout"}


class Wall(importlib.abc.MetaPathFinder):
    '''Lets through the standard library, what the SDK may need, and what that needs.'''

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        # The last is the standard library's too, under a name that depends on the platform.
        known = OURS | THEIRS | sys.stdlib_module_names
        if top not in known and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r} (walled off)", name=name)


sys.meta_path.insert(0, Wall())

import importlib, pkgutil
import streams

assert streams.__file__.startswith(sys.argv[1]), streams.__file__
for module in pkgutil.walk_packages(streams.__path__, "streams."):
    importlib.import_module(module.name)
for name in streams.__all__:
    getattr(streams, name)

streams.parse_event(b'{"type":"done","id":"a1"}')
from streams.settings import Settings
Settings.from_environ({})
reopened = streams.parse_event(b'{"type":"done","id":"a1","at":"2026-01-01T00:00:00Z"}')
report = streams.Reporter.from_url("redis://127.0.0.1:1/0").job("a1", tenant="42")
streams.connect_async("redis://127.0.0.1:1/0")

foreign = {"sql", "api", "ops", "consumers", "projections", "workers", "structlog", "psycopg"}
print(sorted(foreign & sys.modules.keys()))
"""


def test_streams_needs_only_redis_pydantic_and_orjson(tmp_path: Path) -> None:
    """It works in an application whose own modules have the names of our folders."""
    shutil.copytree(ROOT / "streams", tmp_path / "streams")
    for name in ("sql", "api", "ops", "consumers", "projections", "workers", "tests"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the application was imported')\n")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", WORKER, str(tmp_path)],
        cwd=tmp_path,
        # Freed memory is overwritten, so that a use of it on the way out crashes every time.
        env=os.environ | {"PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[]\n")


def test_decoys_would_be_noticed(tmp_path: Path) -> None:
    """The test above does not pass by accident: an import of another package fails."""
    shutil.copytree(ROOT / "streams", tmp_path / "streams")
    (tmp_path / "streams" / "leak.py").write_text("import structlog\n")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", WORKER, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "No module named 'structlog' (walled off)" in done.stderr
