"""The inspection of a workbook's package before it is parsed: its type and inflated size.

The package is a zip archive, and its members are the *parts*. The sizes in its directory may be
wrong, so every part is inflated once, in pieces, and counted. Used by
`workers.roster.reader_process`, before anything else reads the file.
"""

from __future__ import annotations

import hashlib
import mmap
import zipfile
import zlib
from io import BufferedReader
from pathlib import Path

from workers.roster.errors import RosterError
from workers.roster.xlsx.parts import Parts, key

MIB = 1024 * 1024
FILE_BYTES = 64 * MIB
"""The largest file that is read; 200,000 students are about 10 MiB."""

INFLATED_BYTES = 768 * MIB
"""The limit on all parts together when inflated; 200,000 students are about 150 MiB."""

RATIO = 150
"""The limit on the inflated size of a part divided by its compressed size; typed texts have 5 to
30."""

RATIO_FROM_BYTES = 4 * MIB
"""The inflated size of a part, as the directory states it, from which its ratio is checked."""

MAX_PARTS = 2_000
"""The limit on parts; a workbook has some for each sheet."""
_PIECE_BYTES = MIB
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The only ones of the format; `zipfile` reads others as well."""

# The first bytes of the container of an old or encrypted workbook, and a name in the latter.
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    UnicodeDecodeError,  # a name that is marked as UTF-8 and is not
)
"""Errors that `zipfile` raises for a damaged archive."""


def inspect(path: Path) -> str:
    """Check that a file is a workbook and safe to parse; return its SHA-256 as hexadecimal text.

    Raises:
        RosterError: the file is not a workbook, or not safe; the message is the reason, to be read
            after the name of the file.
    """
    digest = _digest(path)
    try:
        with zipfile.ZipFile(path) as package:
            _check_directory(package)
            _check_sizes(package)
            _check_main(package)
    except _DAMAGE as error:
        raise RosterError("the file is damaged or was cut off", code="damaged") from error
    except RuntimeError as error:  # raised by zipfile for an encrypted part
        if isinstance(error, RosterError):
            raise
        raise RosterError("the file is protected by a password", code="protected") from error
    return digest


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file whose size and first bytes are those of a workbook."""
    if not path.exists():
        raise RosterError("there is no such file", code="missing")
    if not path.is_file():
        raise RosterError("is not a regular file", code="unreadable")
    if path.stat().st_size > FILE_BYTES:
        raise RosterError(f"is larger than {FILE_BYTES // MIB} MiB", code="too_large")
    try:
        with path.open("rb") as file:
            return _digest_of(file)
    except OSError as error:
        raise RosterError(f"cannot be read: {error.strerror}", code="unreadable") from error


def _digest_of(file: BufferedReader) -> str:
    start = file.read(len(_OLE))
    if not start:
        raise RosterError("is empty", code="empty")
    if start == _OLE:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            raise _ole(encrypted=content.find(_ENCRYPTED) >= 0)
    if not start.startswith(b"PK"):
        raise RosterError("is not an Excel workbook (.xlsx)", code="not_a_workbook")
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _ole(*, encrypted: bool) -> RosterError:
    if encrypted:
        return RosterError(
            "is protected by a password: save it without one, then import it", code="protected"
        )
    return RosterError(
        "is of the old Excel format (.xls): save it as .xlsx, then import it", code="old_format"
    )


def _check_directory(package: zipfile.ZipFile) -> None:
    """Check the number, the stated sizes and the names of the parts, without inflating any."""
    parts = package.infolist()
    names = {f"/{key(part.filename)}" for part in parts}
    if len(parts) > MAX_PARTS:
        raise RosterError(f"holds {len(parts)} parts, more than any workbook", code="bomb")
    if sum(part.file_size for part in parts) > INFLATED_BYTES:
        raise _too_much()
    for part in parts:
        if part.compress_type not in _COMPRESSIONS:
            raise RosterError("is compressed as no workbook is", code="not_a_workbook")
        if part.file_size > RATIO_FROM_BYTES and part.file_size > RATIO * part.compress_size:
            raise _too_much()
    if any(name.endswith("vbaproject.bin") or "/macrosheets/" in name for name in names):
        raise _macros()
    if any("/externallinks/" in name for name in names):
        raise _external_links()


def _check_sizes(package: zipfile.ZipFile) -> None:
    """Inflate every part and count its bytes, whatever the directory says."""
    inflated = 0
    for part in package.infolist():
        with package.open(part) as stream:
            while piece := stream.read(_PIECE_BYTES):
                inflated += len(piece)
                if inflated > INFLATED_BYTES:
                    raise _too_much()


def _check_main(package: zipfile.ZipFile) -> None:
    """Check that there is a main part, of the right kind and without macros or external links."""
    parts = Parts(package)
    main = parts.main()
    if main is None:
        raise RosterError("is not an Excel workbook (.xlsx)", code="not_a_workbook")
    if key(main).endswith(".bin"):
        raise RosterError(
            "is of the binary Excel format (.xlsb): save it as .xlsx, then import it",
            code="not_a_workbook",
        )
    kinds = {relationship.kind for relationship in parts.relationships(main)}
    if "vbaProject" in kinds:
        raise _macros()
    if "externalLink" in kinds:
        raise _external_links()


def _too_much() -> RosterError:
    return RosterError("inflates to more than any roster needs", code="bomb")


def _macros() -> RosterError:
    return RosterError("holds macros: save it as .xlsx, then import it", code="macros")


def _external_links() -> RosterError:
    return RosterError(
        "has links to other workbooks: break them (or paste as values), then import it",
        code="external_links",
    )
