"""A hidden work directory beside the finished videos, and the one rename that publishes from it.

It lives in the output directory itself, so that publishing never crosses a file system, and is
removed however the work ends. What a killed process left is swept by the next one: a work directory
belongs to a living process exactly as long as that process holds the lock on it.
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
    """Give an empty work directory inside `output_dir` (made if need be) for this block only.

    Raises:
        OSError: the output directory cannot be made or written.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    _sweep(output_dir)
    # Locked under another name first: no sweep can see it without its lock.
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


def bring_in(source: Path, work: Path, on_copied: Callable[[float], object]) -> str:
    """Bring `source` into `work` and give its name there: a hard link, else a copy.

    `on_copied` gets the fraction copied. The name keeps the suffix, which helps ffmpeg to tell
    bare streams apart, and nothing else of what the user called it.
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
    """Rename `folder` to `target`; what stood there is replaced as a whole.

    A directory cannot be renamed over a full one, so an older result steps aside first and steps
    back if the rename fails: `target` is absent for a moment, and never half of each.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _replace(folder, target)


def _replace(folder: Path, target: Path) -> None:
    # Inside the work directory of `folder`, which takes it along when it goes.
    aside = target.rename(folder.with_name("replaced"))
    try:
        folder.rename(target)
    except BaseException:
        aside.rename(target)
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
    """Remove the work directories that no living process holds."""
    for left in output_dir.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may sweep the same one; gone is gone.
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
