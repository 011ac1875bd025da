"""Clients that generators make from the OpenAPI document: they compile, and work with a real API.

Each client makes the same calls and prints what it got. `.ci/run` installs the generators.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.pipeline.conftest import Start
from tests.support.debian import FOLDER
from tests.support.deployment import Deployment, deploy, token
from tests.support.packages import checked

pytestmark = pytest.mark.thorough

CLIENTS = Path(__file__).with_name("generated_clients")
GENERATORS = "JOBTRAIL_TEST_GENERATORS"
"""Names a folder with the Python packages of `tests/generators.txt`, and `node_modules`."""

COMPILER = {
    "strict": True,
    "target": "es2022",
    "module": "nodenext",
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": [],
}
ANSWERS = {
    "percent": 42.5,
    "rows": 1200,
    "video": [7, 42],
    "clip": ["clip-1", "FAILED"],
    "asked": ["DONE", None, 12.5],
    "listed": ["done-1"],
    "result": {"rows": 31337},
    "labels": {"team": "a"},
    "history": ["processing", "done"],
    "stream": True,
    "problem": ["no-such-job", 404],
}
"""The output of each client: attributes of typed answers, and what `extra` and maps hold beside."""


@pytest.fixture
def deployed(start: Start, redis_url: str, database_url: str) -> Deployment:
    return deploy(start, redis_url, database_url)


@pytest.fixture
def document(deployed: Deployment, tmp_path: Path) -> Path:
    """The API's own document, in a folder for the generated files."""
    path = tmp_path / "openapi.json"
    path.write_bytes(httpx.get(f"{deployed.url}/openapi.json").content)
    return path


@pytest.fixture
def packages() -> str:
    found = os.environ.get(GENERATORS)
    if found is None:
        pytest.skip(f"{GENERATORS} names no folder of generators (.ci/run makes one)")
    return found


def printed(deployed: Deployment, *command: str | Path, cwd: Path, **environ: str) -> Any:
    """Run a client with the API's URL and a token, and return what it printed."""
    return json.loads(checked(*command, deployed.url, token(), cwd=cwd, **environ))


def test_openapi_typescript_and_openapi_fetch(
    deployed: Deployment, document: Path, packages: str
) -> None:
    folder, node, modules = document.parent, shutil.which("node"), Path(packages, "node_modules")
    if node is None or not modules.exists():
        pytest.skip(f"no node, or no node_modules in {packages} (.ci/run installs both)")
    (folder / "node_modules").symlink_to(modules)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER}))
    shutil.copy(CLIENTS / "client.ts", folder)
    generator = modules / "openapi-typescript" / "bin" / "cli.js"
    checked(node, generator, document, "--output", "schema.d.ts", cwd=folder)
    compiler = modules / "typescript" / "bin" / "tsc"
    checked(node, compiler, cwd=folder)
    assert printed(deployed, node, "client.js", cwd=folder) == ANSWERS


def test_openapi_python_client(deployed: Deployment, document: Path, packages: str) -> None:
    folder = document.parent
    run = "from openapi_python_client.cli import app; app()"
    options = ("--path", document, "--output-path", "generated", "--meta", "none")
    # The generator formats its files with ruff, which is beside Python.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    generate: list[str | Path] = [sys.executable, "-c", run, "generate", "--fail-on-warning"]
    checked(*generate, *options, cwd=folder, PYTHONPATH=packages, PATH=path)
    shutil.copy(CLIENTS / "client.py", folder)
    # What does not depend on the document is not ours to check.
    strict = ("-m", "mypy", "--no-incremental", "--strict", "--follow-imports", "silent")
    checked(sys.executable, *strict, "generated/api", "generated/models", cwd=folder)
    assert printed(deployed, sys.executable, "client.py", cwd=folder) == ANSWERS


def test_openapi_generator_for_go(deployed: Deployment, document: Path, packages: str) -> None:
    folder = document.parent
    go, environ = _go(folder)
    options = (
        *("generate", "-g", "go", "-i", str(document), "-o", "generated"),
        *("--additional-properties", "packageName=jobtrail"),
        *("--global-property", "apis,models,supportingFiles,apiTests=false"),
    )
    run = "from openapi_generator_cli import cli; cli()"
    checked(sys.executable, "-c", run, *options, cwd=folder, PYTHONPATH=packages)
    (folder / "generated" / "go.mod").write_text("module generated\n")
    shutil.copy(CLIENTS / "client.go", folder)
    (folder / "go.mod").write_text(
        "module client\n\ngo 1.19\n\nrequire generated v0.0.0\n\nreplace generated => ./generated\n"
    )
    checked(go, "build", "-o", "client", ".", cwd=folder, **environ)
    assert printed(deployed, folder / "client", cwd=folder) == ANSWERS


def _go(folder: Path) -> tuple[str, dict[str, str]]:
    """Return Debian's Go, and the environment in which it compiles without a network."""
    toolchain = next(Path(os.environ.get(FOLDER, "/"), "usr/lib").glob("go-*"), None)
    if toolchain is None:
        pytest.skip(f"no Go: unpack its Debian package and name the folder in {FOLDER}")
    environ = {
        "GOROOT": str(toolchain),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
    }
    return str(toolchain / "bin" / "go"), environ
