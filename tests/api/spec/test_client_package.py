"""The npm package: its version, its licence, what it exports, and that the exports load in Node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import api.spec.client_files
from streams.version import __version__

ROOT = Path(__file__).parents[3]
FOLDER = Path(api.spec.client_files.__file__).with_name("client")
PACKAGE: dict[str, Any] = json.loads((FOLDER / "package.json").read_text("utf-8"))
MODULES = [name for name, each in PACKAGE["exports"].items() if isinstance(each, dict)]
WITHOUT_FRAMEWORK = ["client", "element", "snapshots"]


def test_package_has_the_version_and_the_licence_of_the_project() -> None:
    assert PACKAGE["version"] == __version__
    assert (FOLDER / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_each_export_has_a_module_and_types() -> None:
    assert MODULES == [".", "./react", "./vue", "./svelte", "./element"]
    for name in MODULES:
        assert {(FOLDER / path).is_file() for path in PACKAGE["exports"][name].values()} == {True}


@pytest.mark.parametrize("module", [path.stem for path in sorted(FOLDER.glob("*.js"))])
def test_types_declare_what_a_module_exports(module: str) -> None:
    if module == "snapshots":  # internal: its types are those of the snapshots
        return
    exported = r"^export (?:async )?(?:declare )?(?:function\*?|class|const) (\w+)"
    script, types = (
        set(re.findall(exported, (FOLDER / f"{module}{ending}").read_text("utf-8"), re.MULTILINE))
        for ending in (".js", ".d.ts")
    )
    assert script == types


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on this machine")
def test_modules_without_a_framework_load_in_node() -> None:
    """The element, too, which a server that renders pages may import."""
    names = json.dumps([(FOLDER / f"{module}.js").as_uri() for module in WITHOUT_FRAMEWORK])
    script = f"for (const name of {names}) await import(name);"
    subprocess.run(["node", "--input-type=module", "-e", script], check=True, timeout=120)
