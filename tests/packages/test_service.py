"""The packages of `make build`, and the service installed alone."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest

from streams import __version__
from tests.support.packages import Environment, checked, closure, copy_tree
from tests.support.waiting import ENDING, eventually

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what `make build` made."""
    folder = tmp_path_factory.mktemp("tree")
    copy_tree(folder)
    checked(
        "make", "-o", ".venv/.installed", f"BIN={Path(sys.executable).parent}", "build", cwd=folder
    )
    assert not list(folder.rglob("*.egg-info"))
    return folder / "build" / "dist"


def test_both_distributions_are_built_with_one_version(built: Path) -> None:
    assert {path.name for path in built.iterdir()} == {
        f"jobtrail-{__version__}-py3-none-any.whl",
        f"jobtrail-{__version__}.tar.gz",
        f"jobtrail_sdk-{__version__}-py3-none-any.whl",
        f"jobtrail_sdk-{__version__}.tar.gz",
    }
    for archive in built.glob("*.tar.gz"):
        with tarfile.open(archive) as source:
            names = {name.partition("/")[2] for name in source.getnames()}
        assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= names
    (wheel,) = built.glob("jobtrail-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        vendored = {name.rpartition("/")[2] for name in packed.namelist() if "/vendor/" in name}
    assert vendored == {"uPlot.js", "uPlot.css", "uPlot.LICENSE.txt", "SOURCE.txt"}


def test_the_service_contains_the_viewer_of_its_document_with_the_licences(built: Path) -> None:
    (wheel,) = built.glob("jobtrail-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if "swagger-ui" in name}
    texts = ("LICENSE.txt", "NOTICE.txt", "SOURCE.txt", "swagger-ui-bundle.js.LICENSE.txt")
    folder = "api/spec/docs/swagger-ui"
    files = {f"{folder}/{name}" for name in (*texts, "swagger-ui-bundle.js", "swagger-ui.css")}
    licences = f"jobtrail-{__version__}.dist-info/licenses/{folder}"
    assert names == files | {f"{licences}/{name}" for name in texts}


def test_the_service_alone_runs_the_demo(built: Path, tmp_path: Path, data_dir: Path) -> None:
    (wheel,) = built.glob("jobtrail-*.whl")
    project = tomllib.loads((built.parents[1] / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    installed = Environment(tmp_path / "venv", f"{wheel}[embedded]", closure(required))
    command = installed.folder / "bin" / "jobtrail"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert checked(command, "--version", cwd=elsewhere) == f"jobtrail {__version__}\n"
    process = subprocess.Popen(
        [command, "up", "--demo"],
        cwd=elsewhere,
        env={"PATH": "/usr/bin:/bin", "JOBTRAIL_DATA_DIR": str(data_dir), "JOBTRAIL_API_PORT": "0"},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        api = process.stdout.readline().decode().removeprefix("api: ").strip()
        url = f"{api}/api/v1/jobs/checksum-1/progress/"

        def is_done() -> bool:
            answer = httpx.get(url, headers={"X-Tenant-ID": "2"}).json()
            return answer.get("status") == "DONE" and "sha256" in answer["result"]

        eventually(is_done, timeout=60)
    finally:
        process.terminate()
        process.communicate(timeout=ENDING)
