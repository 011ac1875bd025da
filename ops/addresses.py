"""The addresses of a running `jobtrail up`, which other commands read from its data directory.

`up` writes them to a file of mode 0600 and locks that file while it runs. The kernel drops the lock
however the process ends, so that a file without a lock is known to be out of date. Used by
`ops.cli`, `ops.commands`, `ops.tasks` and `ops.unknown_variables`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ops.devstack.private import (
    NotPrivate,
    check_owner,
    forget_libpq_variables,
    open_private,
    private_folder,
)
from ops.errors import CommandError
from streams.runtime.environment import DATA_DIR, PREFIX, TEXTS, given, required_redis_url

if TYPE_CHECKING:
    from streams.settings import Settings

FILE = "up.json"
TEST_PREFIX = f"{PREFIX}TEST_"
"""The prefix of variables of this project's tests, which commands ignore."""
LOCK_SECONDS = 2.0
"""The time in which a starting `up` waits for commands that read the file."""

POLL = 0.05


class Addresses(NamedTuple):
    """Complete URLs, passwords included; the names are those that `up` prints."""

    api: str
    redis: str
    database: str
    console: str

    def lines(self) -> list[str]:
        """Return one line `name: url` for each address."""
        return [f"{name}: {url}" for name, url in self._asdict().items()]

    def exports(self) -> list[str]:
        """Return one `export` line for each address, for a shell to evaluate."""
        return [
            f"export {PREFIX}{name.upper()}_URL={shlex.quote(url)}"
            for name, url in self._asdict().items()
        ]


class RunningUp(NamedTuple):
    """Facts about a running `up` for the other commands."""

    addresses: Addresses
    auth: str
    """`jwt` or `dev`."""
    jwt_secret: str | None
    """The secret of its tokens, which is never printed."""


class Publisher:
    """The file of addresses, opened and locked by the only `up` on a data directory."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def publish(self, up: RunningUp) -> None:
        """Write what other commands then use."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps([up.addresses._asdict(), *up[1:]]).encode(), 0)


@contextmanager
def published(data_dir: Path) -> Iterator[Publisher]:
    """Reserve the data directory for one `up`; remove its addresses when the block ends.

    Raises:
        NotPrivate: the directory belongs to another user, or is a symbolic link.
        CommandError: it cannot be created, or another `up` runs on it.
    """
    try:
        private_folder(data_dir)
    except OSError as error:
        raise CommandError(
            f"{data_dir} cannot be used ({error.strerror}): set {PREFIX}DATA_DIR to another folder"
        ) from None
    fd = open_private(data_dir / FILE, os.O_RDWR | os.O_CREAT)
    try:
        if not _locked(fd):
            raise CommandError(
                f"{data_dir} is in use by another jobtrail up: stop it, or set"
                f" {PREFIX}DATA_DIR to another folder"
            )
        os.ftruncate(fd, 0)
        yield Publisher(fd)
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def running(data_dir: Path) -> Addresses | None:
    """Return the addresses of the `up` that runs on a data directory, or None if none does.

    Raises:
        NotPrivate: as `running_up`.
    """
    found = running_up(data_dir)
    return found and found.addresses


def running_up(data_dir: Path) -> RunningUp | None:
    """Return what the `up` on a data directory published, or None if none runs or is ready.

    Raises:
        NotPrivate: the directory or the file belongs to another user, who could write any address.
    """
    path = data_dir / FILE
    try:
        path.lstat()
        check_owner(data_dir)
        fd = open_private(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise NotPrivate(
            f"{path} cannot be read ({error.strerror}): run your own jobtrail up, or set"
            f" {PREFIX}REDIS_URL and {PREFIX}DATABASE_URL"
        ) from None
    try:
        if _free(fd):
            return None
        return _read(os.pread(fd, 65_536, 0))
    finally:
        os.close(fd)


def command_settings() -> Settings:
    """Return the settings, with the servers of a running `up` where no server is set.

    With one of the two URLs set, the other is not taken from `up`: servers of two deployments are
    never mixed.

    Raises:
        SettingsError: a value is not valid.
        NotPrivate: the data directory belongs to another user.
    """
    from streams.settings import Settings  # noqa: PLC0415 - `command_redis_url` may not need it

    settings = Settings.from_environ()
    if settings.redis_url is not None or settings.database_url is not None:
        return settings
    found = running(settings.data_dir)
    if found is None:
        return settings
    forget_libpq_variables(os.environ)
    return settings.model_copy(update={"redis_url": found.redis, "database_url": found.database})


def command_redis_url() -> str:
    """Return the Redis URL of `command_settings`.

    The settings are not validated where only variables are set for which every text is valid: the
    import of their validator takes longer than `status` does.

    Raises:
        SettingsError, NotPrivate: as `command_settings` and `Settings.require_redis_url`.
    """
    if not only_plain_variables(os.environ):
        return command_settings().require_redis_url()
    redis_url, database_url, data_dir = (given(os.environ, name) for name in TEXTS)
    if redis_url is None and database_url is None:
        found = running(Path(data_dir or DATA_DIR))
        redis_url = found and found.redis
    return required_redis_url(redis_url)


def with_running_up(line: str) -> str:
    """Return the line of an error, with the way to the addresses of the `up` that runs here.

    It is added where the line asks to check a URL that is another one: a terminal keeps what it
    exported, also when a later `up` has other addresses.
    """
    name = next((each for each in ("redis", "database") if line.endswith(_to_check(each))), None)
    address = name and given(os.environ, f"{name}_url")
    if name is None or address is None:
        return line
    try:
        found = running(Path(given(os.environ, "data_dir") or DATA_DIR))
    except (NotPrivate, OSError):
        return line
    if found is None or getattr(found, name) == address:
        return line
    return f'{line}; a jobtrail up runs here with another one, for which: eval "$(jobtrail env)"'


def _to_check(name: str) -> str:
    return f"check {PREFIX}{name.upper()}_URL"


def only_plain_variables(environ: Mapping[str, str]) -> bool:
    """Return True if every `JOBTRAIL_` variable is one for which every text is valid."""
    exported = [f"{name}_url" for name in Addresses._fields]
    plain = {PREFIX + name.upper() for name in (*TEXTS, *exported)}
    return all(
        name in plain or name.startswith(TEST_PREFIX) for name in environ if name.startswith(PREFIX)
    )


def _locked(fd: int) -> bool:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)


def _free(fd: int) -> bool:
    """Return True if the lock is not held; it is released when the file is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(raw: bytes) -> RunningUp | None:
    """Return what was published, or None before it is complete."""
    try:
        addresses, auth, jwt_secret = json.loads(raw)
        return RunningUp(Addresses(**addresses), auth, jwt_secret)
    except (ValueError, TypeError):
        return None
