"""`jobtrail up`: servers, migrations, consumers, API and demo on one machine.

The embedded servers are children of this process; consumers, API and demo are commands of
`jobtrail` in processes of their own, which the supervisor keeps running. Used by `ops.commands.up`.
"""

from __future__ import annotations

import errno
import http
import http.client
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog

from api.access.auth import authenticator
from ops.addresses import Addresses, RunningUp, published
from ops.devstack import EmbeddedPostgres, EmbeddedRedis, EmbeddedServer
from ops.devstack.private import UMASK, forget_libpq_variables
from ops.errors import CommandError
from ops.processes.child import Child
from ops.processes.log_relay import LogRelay
from ops.processes.ports import free_port
from ops.processes.supervisor import Supervisor
from ops.tasks.running.own_commands import own_command, own_environ
from projections.registry.lookup import projection_names
from sql.migrate import apply
from streams import logging_setup
from streams.runtime.interrupts import on_stop
from streams.settings import PREFIX, Settings

_LOG = structlog.get_logger(__name__)

READY_TIMEOUT = 60.0
DEMO_GRACE = 4.0
"""Seconds in which the demo can report that its jobs were cancelled."""

WATCH_SECONDS = 0.5
"""Seconds between two checks of the embedded servers; one that has died is started again."""


_COMPLETED = ("redis_url", "database_url", "data_dir", "api_host", "api_port", "auth")
"""Settings that the children get from this process."""

Announce = Callable[[Iterable[str]], None]


WriteLog = Callable[[bytes], None]


def run_all(settings: Settings, announce: Announce, write_log: WriteLog, *, demo: bool) -> None:
    """Run everything until SIGTERM or SIGINT, then stop what was started.

    `announce` is called with lines of text: the addresses once everything is ready, and a last one
    when it stops. `write_log` is called with the log lines of all processes, after the addresses.

    Raises:
        CommandError: another `up` runs on the data directory, the API's port is taken, or the API
            did not become ready.
        SettingsError: authentication is not configured, or a value is not valid.
        EmbeddedError: an embedded server cannot be started.
    """
    os.umask(UMASK)
    stop = threading.Event()
    on_stop(stop.set)
    settings = _completed(settings)
    authenticator(settings)  # raises before any server is started
    with ExitStack() as stack:
        logs = stack.enter_context(_relayed_logs(settings, write_log))
        # Before the port, which another `up` on the same folder has probably taken.
        publisher = stack.enter_context(published(settings.data_dir))
        settings = _with_free_port(settings)
        settings = _with_servers(settings, stack, stop)
        apply(settings.require_database_url())
        with _children(settings, logs.fd, demo=demo):
            if _ready(settings, stop):
                addresses = _addresses(settings)
                publisher.publish(RunningUp(addresses, settings.auth, settings.jwt_secret))
                announce(_lines(addresses, demo=demo))
                logs.release()
                stop.wait()
        announce(["stopping"])


@contextmanager
def _relayed_logs(settings: Settings, write_log: WriteLog) -> Iterator[LogRelay]:
    """Hold the logs of this process and its children back until they are released."""
    with LogRelay(write_log) as logs:
        logging_setup.configure(settings, logs.stream)
        try:
            yield logs
        finally:
            logging_setup.configure(settings)


def _completed(settings: Settings) -> Settings:
    """Return the settings with an absolute data directory, and dev auth if there is no secret."""
    auth = settings.auth
    if "auth" not in settings.model_fields_set and not (settings.jwt_secret or settings.jwks):
        auth = "dev"
    data_dir = settings.data_dir.absolute()
    return settings.model_copy(update={"auth": auth, "data_dir": data_dir})


def _with_free_port(settings: Settings) -> Settings:
    """Return the settings with a port for the API that is free."""
    host, port = settings.api_host, settings.api_port
    try:
        return settings.model_copy(update={"api_port": free_port(host, port)})
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason, remedy = "the port is taken", f"pass --port, or set {PREFIX}API_PORT"
        else:
            reason = error.strerror or str(error)
            remedy = f"set {PREFIX}API_HOST and {PREFIX}API_PORT, or pass --port"
        raise CommandError(
            f"the API cannot listen on {host}:{port}: {reason}: {remedy} (0 takes a free port)"
        ) from None


def _with_servers(settings: Settings, stack: ExitStack, stop: threading.Event) -> Settings:
    """Start an embedded server for each URL that is not set; return the settings with all URLs.

    The servers are stopped when the stack is closed.
    """
    servers: dict[str, EmbeddedServer] = {}
    if settings.redis_url is None:
        servers["redis_url"] = EmbeddedRedis(
            settings.data_dir / "redis", max_event_bytes=settings.max_event_bytes
        )
    if settings.database_url is None:
        servers["database_url"] = EmbeddedPostgres(settings.data_dir / "postgres")
        # They describe other servers, and would change the sessions of this process's children.
        forget_libpq_variables(os.environ)
    for server in servers.values():
        stack.callback(server.stop)
        server.start_on_kept_port()
    if servers:
        stack.enter_context(_watched(list(servers.values()), stop))
    return settings.model_copy(update={name: server.url for name, server in servers.items()})


@contextmanager
def _watched(servers: list[EmbeddedServer], stop: threading.Event) -> Iterator[None]:
    """Start embedded servers that have died again, on the same port."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_SECONDS):
            for server in servers:
                if not stop.is_set() and not server.alive():
                    _LOG.warning("embedded_server_died", server=server.name)
                    server.start()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@contextmanager
def _children(settings: Settings, output: int, *, demo: bool) -> Iterator[None]:
    """Run consumers and API as processes that are restarted, and the demo as one that is not."""
    environ = _environ(settings)
    supervisor = Supervisor(output=output)
    for group in projection_names():
        supervisor.add(f"consume {group}", own_command("consume", group), environ)
    supervisor.add("api", own_command("api", "--quiet"), environ)
    done = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(done,))
    thread.start()
    work = Child(own_command("demo"), env=environ, output=output) if demo else None
    try:
        yield
    finally:
        # The demo first: the consumers still handle its reports of cancelled jobs.
        if work is not None:
            work.stop(DEMO_GRACE)
        done.set()
        thread.join()


def _environ(settings: Settings) -> Mapping[str, str]:
    """Return the environment of the children: that of this process and the completed settings."""
    logs = {f"{PREFIX}LOG_FORMAT": logging_setup.format_of(settings)}
    if logging_setup.wants_colour():  # the children's standard error is a pipe
        logs["FORCE_COLOR"] = "1"
    return {**own_environ(settings, _COMPLETED), **logs}


def _ready(settings: Settings, stop: threading.Event) -> bool:
    """Wait until the API is ready; return False if `stop` was set meanwhile."""
    deadline = time.monotonic() + READY_TIMEOUT
    while not stop.wait(0.1):
        if _answers(settings.api_host, settings.api_port):
            return True
        if time.monotonic() > deadline:
            raise CommandError(
                f"the API did not become ready within {READY_TIMEOUT:.0f} s: see the log above"
            )
    return False


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _addresses(settings: Settings) -> Addresses:
    api = _api_url(settings)
    return Addresses(
        api=api,
        redis=settings.require_redis_url(),
        database=settings.require_database_url(),
        console=f"{api}/console/",
    )


def _lines(addresses: Addresses, *, demo: bool) -> list[str]:
    lines = addresses.lines()
    if demo:
        lines += ["", "The demo runs jobs until it is stopped (Ctrl-C); watch them:"]
        lines += [*_examples(addresses.api), ""]
    return lines


def _examples(api: str) -> list[str]:
    return [
        f"  curl -H 'X-Tenant-ID: 1' {api}/media/videos/1/progress/",
        f"  curl -H 'X-Tenant-ID: 2' {api}/api/v1/jobs/archive-1/progress/",
        f"  curl -H 'X-Tenant-ID: 3' {api}/api/v1/jobs/report-1/progress/  # fails on purpose",
        f"  {_own_program()} tail --tenant 2",
    ]


def _own_program() -> str:
    """Return the name of `jobtrail` for a shell: with its path if the shell's PATH lacks it."""
    path = Path(sys.argv[0])
    if path.name != "jobtrail":  # `python -m ops`
        return "jobtrail"
    found = shutil.which("jobtrail")
    return (
        "jobtrail"
        if found and path.absolute() == Path(found).absolute()
        else shlex.quote(str(path))
    )


def _api_url(settings: Settings) -> str:
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    return f"http://{host}:{settings.api_port}"
