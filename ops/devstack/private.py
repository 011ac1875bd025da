"""Access control that keeps a folder, its files and its servers private to this user."""

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
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{32,128}")

SERVER_ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""The whole environment of an embedded server; nothing of the shell's reaches it."""


class NotPrivate(EmbeddedError):
    """A folder or file is not this user's: take another data directory, or remove it."""


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
        # Once more on the open folder: what has this name may have been exchanged meanwhile.
        _check(path, os.fstat(fd))
        if stat.S_IMODE(os.fstat(fd).st_mode) != FOLDER_MODE:
            os.fchmod(fd, FOLDER_MODE)
    finally:
        os.close(fd)


def check_owner(path: Path) -> None:
    """Raise where a path is a symbolic link or another user's.

    Raises:
        NotPrivate: it is one of these.
        FileNotFoundError: there is no such path.
    """
    _check(path, path.lstat())


def open_private(path: Path, flags: int) -> int:
    """Open a file with mode 0600 that never follows a symbolic link; return its descriptor.

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
    """Replace a file of mode 0600 as a whole, on the disk before it has its name."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(open_private(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def read_password(folder: Path) -> str | None:
    """Return the password kept in a folder, or None where there is no usable one."""
    try:
        fd = open_private(folder / PASSWORD_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, errors="replace") as file:
        found = file.read().strip()
    return found if _PASSWORD.fullmatch(found) else None


def write_password(folder: Path, password: str) -> None:
    """Keep a password in a folder, readable by this user alone."""
    write_private(folder / PASSWORD_FILE, f"{password}\n")


def new_password() -> str:
    """Return a random password that needs no escaping in a URL, a statement or a file."""
    import secrets  # noqa: PLC0415 - the other commands, which only look here, start faster

    return secrets.token_urlsafe(32)


def forget_libpq_variables(environ: MutableMapping[str, str]) -> None:
    """Remove the shell's `PG…` variables: they name other servers and would change our sessions."""
    for name in [name for name in environ if name.startswith("PG")]:
        del environ[name]


def _check(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise NotPrivate(f"{path} is a symbolic link: name the folder or file itself")
    if found.st_uid != os.geteuid():
        raise NotPrivate(
            f"{path} belongs to another user (id {found.st_uid}): remove it, or set"
            " JOBTRAIL_DATA_DIR to a folder of your own"
        )
