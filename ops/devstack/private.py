"""Folders, files and passwords that only this user can read, for embedded servers and addresses.

Used by `ops.addresses`, `ops.devstack` and `ops.tasks`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

from ops.devstack.errors import EmbeddedError

UMASK = 0o077
FOLDER_MODE = 0o700
FILE_MODE = 0o600

PASSWORD_FILE = "password"  # noqa: S105 - the file's name
PORT_FILE = "port"
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{32,128}")
_PORT = re.compile(r"(1[6-9]|2[0-9]|3[01])[0-9]{3}")
"""A port that `ops.devstack.server` chooses."""

SERVER_ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""The complete environment of an embedded server: no variable of the shell is passed on."""


class NotPrivate(EmbeddedError):
    """A folder or file is a symbolic link, or belongs to another user."""


def private_folder(path: Path) -> None:
    """Create a folder with mode 0700, or restrict an existing one to it.

    Raises:
        NotPrivate: it is a symbolic link or belongs to another user.
        OSError: it cannot be created, or is not a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=FOLDER_MODE)
    check_owner(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # Checked again on the open folder, because the path may lead to another one by now.
        _check(path, os.fstat(fd))
        if stat.S_IMODE(os.fstat(fd).st_mode) != FOLDER_MODE:
            os.fchmod(fd, FOLDER_MODE)
    finally:
        os.close(fd)


def check_owner(path: Path) -> None:
    """Raise if a path is a symbolic link or belongs to another user.

    Raises:
        NotPrivate: it is, or does.
        FileNotFoundError: the path does not exist.
    """
    _check(path, path.lstat())


def open_private(path: Path, flags: int) -> int:
    """Open a file without following a symbolic link, set mode 0600, and return its descriptor.

    Raises:
        NotPrivate: it is a symbolic link or belongs to another user.
        OSError: it cannot be opened.
    """
    with suppress(FileNotFoundError):
        check_owner(path)
    fd = os.open(path, flags | os.O_NOFOLLOW, FILE_MODE)
    try:
        _check(path, os.fstat(fd))
        if stat.S_IMODE(os.fstat(fd).st_mode) & UMASK:
            os.fchmod(fd, FILE_MODE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_private(path: Path, text: str) -> None:
    """Replace a file by one of mode 0600, atomically; it is synced to disk before it is renamed."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(open_private(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def read_password(folder: Path) -> str | None:
    """Return the password that a folder holds, or None if it holds no valid one."""
    return _read(folder / PASSWORD_FILE, _PASSWORD)


def write_password(folder: Path, password: str) -> None:
    """Write a password into a folder, readable by this user only."""
    write_private(folder / PASSWORD_FILE, f"{password}\n")


def new_password() -> str:
    """Return a random password that needs no escaping in a URL, a statement or a file."""
    import secrets  # noqa: PLC0415 - slow to import, only for new passwords

    return secrets.token_urlsafe(32)


def read_port(folder: Path) -> int | None:
    """Return the port that a folder holds, or None if it holds no valid one."""
    found = _read(folder / PORT_FILE, _PORT)
    return None if found is None else int(found)


def write_port(folder: Path, port: int) -> None:
    """Write a port into a folder, unless the folder holds it already."""
    if read_port(folder) != port:
        write_private(folder / PORT_FILE, f"{port}\n")


def forget_libpq_variables(environ: MutableMapping[str, str]) -> None:
    """Remove the shell's `PG…` variables, which describe other servers and change sessions."""
    for name in [name for name in environ if name.startswith("PG")]:
        del environ[name]


def _read(path: Path, form: re.Pattern[str]) -> str | None:
    """Return the text of a private file, or None if there is none of this form."""
    try:
        fd = open_private(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(fd, errors="replace") as file:
        found = file.read().strip()
    return found if form.fullmatch(found) else None


def _check(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise NotPrivate(f"{path} is a symbolic link: name the folder or file itself")
    if found.st_uid != os.geteuid():
        raise NotPrivate(
            f"{path} belongs to another user (id {found.st_uid}): remove it, or set"
            " JOBTRAIL_DATA_DIR to a folder of your own"
        )
