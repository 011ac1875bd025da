"""The hidden work directory of an encoding, and the rename that publishes its result.

It is in the output directory, so that publishing never crosses a file system, and is removed
however the work ends. The next run removes the directory of a killed process: a directory is in use
exactly as long as a process holds the lock on it. Used by `workers.video.encoder`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".encoding-"
_COPY_BYTES = 4 * 1024 * 1024


@contextmanager
def workspace(output_dir: Path) -> Iterator[Path]:
    """Create a work directory in `output_dir`, which is created if needed, for this block.

    Raises:
        OSError: the output directory cannot be created or written.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    _sweep(output_dir)
    # It gets its final name once it is locked, or another process could remove it.
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=output_dir))
    lock = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work = fresh.rename(output_dir / fresh.name.replace(".new-", _PREFIX))
        try:
            yield work
        finally:
            shutil.rmtree(work)
    finally:
        os.close(lock)


def link_or_copy(source: Path, work: Path, on_copied: Callable[[float], object]) -> str:
    """Link `source` into the folder `work`, or copy it; return its name there.

    `on_copied` is called with the copied fraction. The name has the suffix of the source, by which
    ffmpeg recognizes bare streams, and is otherwise new.
    """
    suffix = source.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", source.suffix) else ""
    target = work / f"source{suffix}"
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        # Another file system, one without links, or a file of another owner.
        _copy(source, target, on_copied)
    return target.name


def publish(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`, and replace an older result.

    A directory cannot be renamed over one that is not empty, so the older result is moved away
    first, and back if the rename fails. For a moment `target` does not exist; it never contains
    files of both results.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _replace(folder, target)


def _replace(folder: Path, target: Path) -> None:
    # In the work directory of `folder`, which is removed with it.
    replaced = target.rename(folder.with_name("replaced"))
    try:
        folder.rename(target)
    except BaseException:
        replaced.rename(target)
        raise


def _copy(source: Path, target: Path, on_copied: Callable[[float], object]) -> None:
    total = max(1, source.stat().st_size)
    copied = 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(_COPY_BYTES):
            writer.write(chunk)
            copied += len(chunk)
            on_copied(min(1.0, copied / total))


def _sweep(output_dir: Path) -> None:
    """Remove the work directories that no process has locked."""
    for left in output_dir.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may be removing the same directory.
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
