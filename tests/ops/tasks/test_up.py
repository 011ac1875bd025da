"""`jobtrail up`: it starts everything on one machine, and stops all of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from ops.tasks import up
from streams.connection import connect
from tests.support.processes import descendants, runs, signal_all
from tests.support.waiting import ENDING, eventually


@contextmanager
def running(
    data_dir: Path, *words: str, stderr: int = subprocess.PIPE, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `jobtrail up` in an empty folder, and end it after the test."""
    environ = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    environ |= {"JOBTRAIL_DATA_DIR": str(data_dir), "JOBTRAIL_API_PORT": "0"}
    environ |= {f"JOBTRAIL_{name.upper()}": text for name, text in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "up", *words],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=ENDING)


def addresses(process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Read the first lines, one `name: url` each."""
    assert process.stdout is not None
    lines = [process.stdout.readline().decode().strip() for _ in range(4)]
    return dict(line.split(": ", 1) for line in lines)


def test_up_serves_what_is_appended_and_leaves_nothing(data_dir: Path) -> None:
    with running(data_dir) as process:
        found = addresses(process)
        assert list(found) == ["api", "redis", "database", "console"]
        family = descendants(process.pid)
        with connect(found["redis"]) as client:
            client.xadd("tenant:42:events", {"event": b'{"type":"done","id":"a1"}'})
        url = f"{found['api']}/api/v1/jobs/a1/progress/"
        headers = {"X-Tenant-ID": "42"}
        eventually(lambda: httpx.get(url, headers=headers).status_code == 200)
        with psycopg.connect(found["database"], autocommit=True) as connection:
            count = "SELECT count(*) FROM jobs"
            eventually(lambda: connection.execute(count).fetchone() == (1,))

        process.send_signal(signal.SIGINT)

        assert process.wait(ENDING) == 0
        assert not [pid for pid in family if runs(pid)]

    # Data and the servers' ports are kept, and the addresses come once and before all logs.
    words = ("--port", "0")
    with running(data_dir, *words, api_port="1", stderr=subprocess.STDOUT) as process:
        before, found = found, addresses(process)
        assert list(found) == ["api", "redis", "database", "console"]
        assert (found["redis"], found["database"]) == (before["redis"], before["database"])
        url = f"{found['api']}/api/v1/jobs/a1/progress/"
        assert httpx.get(url, headers=headers).json()["status"] == "DONE"
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDING) == 0
        assert process.stdout is not None
        rest = process.stdout.read()  # `communicate` would miss what `addresses` read ahead
        assert b"child_started" in rest
        assert b"api: " not in rest


def test_setting_up_the_database_is_out_of_the_terminals_reach(data_dir: Path) -> None:
    """Ctrl-C signals the whole process group, but must not interrupt initdb."""
    with running(data_dir) as process:
        eventually((data_dir / "postgres" / "cluster.new" / "PG_VERSION").exists)
        ours = os.getpgid(process.pid)
        assert not [pid for pid in descendants(process.pid) if _group_of(pid) == ours]

        process.send_signal(signal.SIGINT)

        assert process.wait(ENDING) == 0


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:  # it has done its part meanwhile
        return None


def test_up_starts_again_what_dies(data_dir: Path) -> None:
    with running(data_dir) as process:
        found = addresses(process)
        for victim in ("consume status", "redis-server"):
            _process_of(process.pid, victim).kill()

        def projected() -> Any:
            with connect(found["redis"]) as client:
                client.xadd("tenant:1:events", {"event": b'{"type":"done","id":"a1"}'})
                return client.get("tenant:1:job:a1:status")

        eventually(lambda: _patient(projected), timeout=30)


def _process_of(pid: int, words: str) -> Any:
    for child in psutil.Process(pid).children(recursive=True):
        if words in " ".join(child.cmdline()) and "/bin/sh" not in child.cmdline()[0]:
            return child
    raise AssertionError(f"nobody runs {words}")


def _patient(check: Any) -> Any:
    try:
        return check()
    except OSError as error:
        raise AssertionError(str(error)) from error
    except Exception as error:
        raise AssertionError(repr(error)) from error


def test_second_up_in_the_same_folder_is_refused_in_one_line(data_dir: Path) -> None:
    with running(data_dir) as process:
        port = addresses(process)["api"].rpartition(":")[2]
        with running(data_dir, "--port", port) as second:
            out, err = second.communicate(timeout=ENDING)
            assert second.returncode == 1
            assert out == b""
            # The port is taken, too; another one would not help.
            assert "in use" in err.decode().strip().splitlines()[-1]


@pytest.mark.parametrize("folder", ["/proc/x", "/dev/null", "/dev/null/x"])
def test_folder_that_cannot_be_made_is_named_with_its_setting(folder: str) -> None:
    """The folder is the reason, not standard output, to which `up` has not written yet."""
    with running(Path(folder)) as process:
        out, err = process.communicate(timeout=ENDING)
    assert (process.returncode, out) == (1, b"")
    (line,) = err.decode().strip().splitlines()
    assert line.startswith(f"jobtrail: {folder} cannot be used (")
    assert "JOBTRAIL_DATA_DIR" in line


def test_taken_port_is_said_plainly(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running(data_dir, "--port", port) as process:
            _, err = process.communicate(timeout=ENDING)
    assert process.returncode == 1
    (line,) = err.decode().strip().splitlines()
    assert f"127.0.0.1:{port}: the port is taken" in line
    assert "--port" in line
    assert "JOBTRAIL_API_PORT" in line


def test_refused_url_is_said_with_the_way_to_embedded_servers(data_dir: Path) -> None:
    with running(data_dir, redis_url="redis://127.0.0.1:1/0") as process:
        _, err = process.communicate(timeout=ENDING)
    (line,) = err.decode().strip().splitlines()
    assert "check JOBTRAIL_REDIS_URL; for embedded servers: unset JOBTRAIL_REDIS_URL" in line


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        (".venv/bin/jobtrail", ".venv/bin/jobtrail"),
        ("/a folder/jobtrail", "'/a folder/jobtrail'"),
        ("/bin/on-path/jobtrail", "jobtrail"),
        ("/x/ops/__main__.py", "jobtrail"),
    ],
)
def test_example_of_the_demo_names_a_program_that_the_shell_finds(
    monkeypatch: pytest.MonkeyPatch, program: str, shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/on-path/jobtrail")
    assert up._examples("http://x")[-1] == f"  {shown} tail --tenant 2"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_dev_auth_is_refused_on_other_than_loopback(data_dir: Path, host: str) -> None:
    with running(data_dir, api_host=host) as process:
        _, err = process.communicate(timeout=ENDING)
    assert process.returncode == 1
    assert "JOBTRAIL_" in err.decode().strip().splitlines()[-1]


@pytest.mark.thorough
def test_demo_encodes_a_video_whose_seven_steps_are_visible(data_dir: Path) -> None:
    with running(data_dir, "--demo") as process:
        found = addresses(process)
        url, headers = f"{found['api']}/media/videos/1/progress/", {"X-Tenant-ID": "1"}
        seen: set[tuple[str, int | None]] = set()

        def ready() -> dict[str, Any] | None:
            answer = httpx.get(url, headers=headers).json()
            seen.add((answer.get("status"), answer.get("encoding_step_index")))
            return answer if answer.get("status") == "READY" else None

        answer = eventually(ready, timeout=180)
        assert Path(answer["hls_path"]).read_text().startswith("#EXTM3U")
        assert answer["duration"] == 40
        assert ("PROCESSING", 4) in seen
        failed = httpx.get(
            f"{found['api']}/api/v1/jobs/report-1/progress/", headers={"X-Tenant-ID": "3"}
        ).json()
        assert failed["status"] == "FAILED"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("redis-server", id="Redis", marks=pytest.mark.thorough),
        pytest.param("", id="all"),
    ],
)
def test_up_told_to_stop_while_its_processes_are_frozen__stops_and_leaves_nothing(
    data_dir: Path, words: str
) -> None:
    with running(data_dir) as process:
        addresses(process)
        family = descendants(process.pid)
        if words:
            signal_all(_process_of(process.pid, words).pid, signal.SIGSTOP)
        else:
            for child in psutil.Process(process.pid).children():
                if "/bin/sh" not in child.cmdline()[0]:  # a guard waits for us alone
                    signal_all(child.pid, signal.SIGSTOP)

        process.terminate()

        try:
            assert process.wait(ENDING) == 0
        finally:
            for pid in family:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).resume()
        assert not [pid for pid in family if runs(pid)]
