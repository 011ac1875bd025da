"""The worker's package, installed alone."""

from __future__ import annotations

import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import redis
from packaging.requirements import Requirement

from streams.wire import ask
from tests.support.packages import FOLDERS, ROOT, Environment, checked, closure, copy_tree, run

APPLICATION = """
import json
import os
import sys

import api
import sql
import streams
import workers
from jobtrail import EventAppender, Reporter, State, connect
from jobtrail.compat import Bridge, cache_job_status
from jobtrail.integrations.celery import report_tasks

assert api.OWNER == sql.OWNER == streams.OWNER == workers.OWNER == "the application"
url = os.environ["JOBTRAIL_REDIS_URL"]


def read(folder: str) -> dict[str, int]:
    return {"files": len(os.listdir(folder))}


def main() -> None:
    reporter: Reporter = Reporter.from_url(url)
    with reporter.job("a1", tenant="42", job_type="excel") as job:
        job.progress("reading", percent=10)
        job.done(read("."))
    client = connect(url)
    entry_id = EventAppender(client).append("42", {"type": "queued", "id": "a2"})
    assert cache_job_status("42", "a3", "DONE", through=Bridge(client))
    ours = [name for name in sys.modules if name.startswith(("streams.", "api.", "sql."))]
    print(json.dumps({"ms": entry_id.ms, "ended": State.DONE.ended, "ours": ours}))


if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make build` makes, without the source archive."""
    folder = tmp_path_factory.mktemp("tree")
    copy_tree(folder)
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist")
    checked(*build, "streams", cwd=folder)
    (made,) = (folder / "dist").iterdir()
    return made


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def _required(wheel: Path) -> list[str]:
    texts = _metadata(wheel).get_all("Requires-Dist") or []
    return [text for text in texts if "extra ==" not in text]


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the worker's package and what it requires."""
    folder = tmp_path_factory.mktemp("worker") / "venv"
    return Environment(folder, str(wheel), closure(_required(wheel)))


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """An application that has folders of all our names."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('OWNER = "the application"\n')
    main = tmp_path / "main.py"
    main.write_text(APPLICATION)
    return main


def test_it_requires_redis_pydantic_and_orjson(wheel: Path, environment: Environment) -> None:
    required = [Requirement(text) for text in _required(wheel)]
    assert {each.name for each in required} == {"redis", "pydantic", "orjson"}
    assert environment.distributions() == {"jobtrail-sdk", *closure(map(str, required))}
    assert len(environment.distributions()) < 12


def test_it_holds_every_module_and_script_of_its_folder(wheel: Path) -> None:
    """The list of packages in its pyproject.toml forgets none."""
    there = {
        str(path.relative_to(ROOT / "streams"))
        for pattern in ("*.py", "*.lua", "py.typed")
        for path in (ROOT / "streams").rglob(pattern)
    }
    with zipfile.ZipFile(wheel) as archive:
        names = [name.partition("/") for name in archive.namelist()]
    assert {rest for top, _, rest in names if top == "jobtrail"} == there
    assert _metadata(wheel)["License-Expression"] == "Apache-2.0"


def test_a_worker_runs_beside_folders_named_like_ours(
    environment: Environment, application: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    printed = checked(
        environment.python, application, cwd=application.parent, JOBTRAIL_REDIS_URL=redis_url
    )
    assert '"ended": true, "ours": []' in printed
    entries = ask(redis_client, "XRANGE", "tenant:42:events", "-", "+")
    said = [fields[1] for _, fields in entries]
    assert len(said) == 5
    assert b'"type":"done"' in said[2]
    assert b'"files":' in said[2]


def test_mypy_strict_knows_its_types(environment: Environment, application: Path) -> None:
    wrong = application.with_name("wrong.py")
    wrong.write_text(
        "from jobtrail import Reporter\nReporter.from_url(b'x').job('a1', tenant=b'42')\n"
    )
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", environment.python)
    cache = ("--cache-dir", application.with_name("cache"))
    checked(*mypy, *cache, application, cwd=application.parent)
    refused = run(*mypy, *cache, wrong, cwd=application.parent)
    assert refused.stdout.count("[arg-type]") == 2
