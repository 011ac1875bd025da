"""Build the image without a registry, and try it: `python -m tests.deploy.try_image`, as root.

Needs debootstrap, buildah, podman and runc of Debian, and takes several minutes. The base image is
made of Debian packages. The container runs without root, without capabilities and on a read-only
file system, with embedded servers outside of it; the program ends with 1 where it does not serve.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import httpx

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from ops.devstack.server import free_port
from streams.appender import EventAppender
from streams.connection import connect
from tests.support.servers import server_folder
from tests.support.waiting import eventually

TREE = Path(__file__).parents[2]
BASE, IMAGE, NAME = "localhost/python:try", "localhost/jobtrail:try", "jobtrail-try"
PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = "/etc/ssl/certs:/etc/ssl/certs:ro"
HARDENED = (
    "--read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges"
    # Lower than any limit of the machine: raising one needs a right that not every root has.
    " --ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
    " --no-healthcheck --network host --detach --rm"
).split()


class Tools:
    """buildah and podman on a storage of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        storage = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        self._storage = ["--storage-driver", "vfs", *storage]

    def build(self) -> None:
        """Build the base image, then the image."""
        root = self._folder / "base" / "root"
        root.parent.mkdir()
        _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root))
        for waste in (root / "var/cache/apt/archives", root / "var/lib/apt/lists"):
            shutil.rmtree(waste)
        file = root.with_name("Containerfile")
        file.write_text("FROM scratch\nCOPY root /\n")
        self._bud(BASE, file, root.parent)
        base = ("--build-arg", f"PYTHON={BASE}", "--volume", CERTIFICATES)
        self._bud(IMAGE, TREE / "deploy" / "image" / "Containerfile", TREE, *base)

    def _bud(self, name: str, file: Path, context: Path, *options: str) -> None:
        # The format of Docker has health checks.
        words = ["bud", "--isolation", "chroot", "--network", "host", "--format", "docker"]
        more = [*options, "--tag", name, "--file", str(file), str(context)]
        _run("buildah", *self._storage, *words, *more)

    def podman(self, *words: str) -> str:
        """Run podman, and return what it printed."""
        manager = ["--runtime", "/usr/sbin/runc", "--cgroup-manager", "cgroupfs"]
        return _run("podman", *self._storage, *manager, *words)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{words[0]} failed with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def try_it(tools: Tools, redis_url: str, database_url: str) -> None:
    """Run all parts in one container, append an event outside, and read it from the API."""
    api, metrics = free_port(), free_port()
    environment = {
        "JOBTRAIL_REDIS_URL": redis_url,
        "JOBTRAIL_DATABASE_URL": database_url,
        "JOBTRAIL_AUTH": "dev",
        "JOBTRAIL_API_PORT": str(api),
    }
    options = [word for pair in environment.items() for word in ("--env", "=".join(pair))]
    tools.podman("run", "--name", NAME, *HARDENED, *options, IMAGE, "api")
    try:
        tools.podman("exec", NAME, "jobtrail", "migrate")
        port = ("--env", f"JOBTRAIL_METRICS_PORT={metrics}")
        tools.podman("exec", "--detach", *port, NAME, "jobtrail", "consume", "status")
        tools.podman("exec", "--detach", NAME, "jobtrail", "consume", "rows")
        with connect(redis_url) as client:
            EventAppender(client).append("t", {"type": "done", "id": "a1"})
        for path in ("/api/v1/jobs/a1/progress/", "/api/v1/jobs/a1/"):
            eventually(partial(_served, api, path), timeout=60, what=path)
        tools.podman("exec", NAME, "jobtrail-health")
        tools.podman("exec", *port, NAME, "jobtrail-health")
        user = tools.podman("exec", NAME, "id", "-u").strip()
        assert user == "65532", user
        writing = "touch /x /tmp/x /opt/jobtrail/x 2>/dev/null; ls /x /tmp/x /opt/jobtrail/x"
        assert tools.podman("exec", NAME, "sh", "-c", f"{writing} 2>/dev/null || true") == ""
        assert "CycloneDX" in tools.podman("exec", NAME, "cat", "/opt/jobtrail/sbom.cdx.json")
    finally:
        tools.podman("stop", "--time", "15", NAME)
        # podman removes a stopped container in another process.
        tools.podman("rm", "--force", "--ignore", NAME)


def _served(port: int, path: str) -> bool:
    with suppress(httpx.TransportError):
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"X-Tenant-ID": "t"})
        return answer.status_code == 200 and answer.json()["status"] == "DONE"
    return False


def main() -> None:
    """Build and try, in folders that are gone afterwards."""
    with ExitStack() as stack:
        tools = Tools(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        tools.build()
        redis = EmbeddedRedis(stack.enter_context(server_folder()), persist=False)
        postgres = EmbeddedPostgres(stack.enter_context(server_folder()), fast=True)
        stack.enter_context(redis)
        stack.enter_context(postgres)
        try_it(tools, redis.url, postgres.url)
        sys.stdout.write("the image serves, without root and on a read-only file system\n")


if __name__ == "__main__":
    main()
