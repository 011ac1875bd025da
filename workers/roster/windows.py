"""A large workbook, handed to its parser in windows of rows, so that memory does not grow with it.

calamine holds a sheet and the shared strings whole. So of a large workbook it gets many small ones:
a *window* is the package with only some rows of one sheet, and with the shared strings that these
rows refer to put into their cells. All that is understood here is where rows, shared strings and
references to them begin and end; what a cell means is for calamine alone to say.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from posixpath import join, normpath
from typing import IO
from xml.etree import ElementTree as ET

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook

from workers.roster.package import MIB
from workers.roster.scratch import Scratch

LARGE_BYTES = 4 * MIB
"""Inflated sheets and strings from which a workbook is read in windows: some 10,000 students."""

PIECE = MIB // 4
"""Bytes of a sheet's XML in a window: some 800 students."""

_FRAME = frozenset(
    "[content_types].xml _rels/.rels xl/workbook.xml xl/_rels/workbook.xml.rels "
    "xl/styles.xml".split()
)
_FRAME_BYTES = MIB
"""What the parts that are in every window may come to."""

_SHEET_DATA = re.compile(rb"<((?:\w+:)?)sheetData\s*(/?)>")
_ROW = re.compile(rb"\s*<(?:\w+:)?row\s(?:[^>]*\s)?r=[\"'](\d{1,9})[\"']")
_OTHER_LETTERS = re.compile(
    rb"(?:\xef\xbb\xbf)?<\?xml[^>]*encoding=[\"'](?!utf-8[\"'])", re.IGNORECASE
)
_STRING = re.compile(rb"<((?:\w+:)?)si\s*(?:/>|>(.*?)</\1si>)", re.DOTALL)
_TEXT_CELL = re.compile(rb"<(?:\w+:)?c\b[^>]*\st=[\"']s[\"'][^>]*(?<!/)>")
_REFERENCE = re.compile(
    rb"(<(?:\w+:)?c\b[^>]*\st=)[\"']s[\"']([^>]*(?<!/)>)\s*<((?:\w+:)?)v>\s*(\d{1,9})\s*</\3v>"
)


class Unwindowed(Exception):
    """The workbook is written in a way that cannot be cut safely: read it whole."""


def is_large(path: Path) -> bool:
    """Whether a workbook that was inspected is to be read in windows."""
    with zipfile.ZipFile(path) as package:
        parts = package.infolist()
    return sum(part.file_size for part in parts if _is_bulk(part.filename)) > LARGE_BYTES


class Windows:
    """A workbook whose sheets come in windows."""

    def __init__(self, path: Path, scratch: Scratch, piece: int = PIECE) -> None:
        self._scratch = scratch
        self._piece = piece
        self._package = zipfile.ZipFile(path)
        names = self._package.namelist()
        self._frame = [name for name in names if name.casefold() in _FRAME]
        if sum(self._package.getinfo(name).file_size for name in self._frame) > _FRAME_BYTES:
            raise Unwindowed
        self._parts = self._parts_by_sheet()
        for name in names:
            if name.casefold() == "xl/sharedstrings.xml":
                scratch.keep_strings(self._shared_strings(name))
        self.metadata = self._workbook({}).sheets_metadata

    def sheet(self, name: str) -> WindowedSheet:
        """Give a sheet by its name."""
        part = self._parts.get(name)
        if part is None:
            raise Unwindowed
        return WindowedSheet(self, name, part)

    def cut(self, part: str) -> Iterator[bytes]:
        """Give a sheet's XML up to its rows, then some rows at a time, then what follows them."""
        with self._package.open(part) as stream:
            yield from _cut(stream, self._piece)

    def window(self, name: str, part: str, xml: bytes) -> CalamineSheet:
        """Have a sheet parsed as if this were all of it."""
        try:
            return self._workbook({part: xml}).get_sheet_by_name(name)
        except CalamineError as error:  # is it the cutting, or the file? Whole, it will show
            raise Unwindowed from error

    def inlined(self, rows: bytes) -> bytes:
        """Put shared strings into the cells that refer to them."""
        found = list(_REFERENCE.finditer(rows))
        if len(found) != sum(1 for _ in _TEXT_CELL.finditer(rows)):
            raise Unwindowed
        strings = self._scratch.strings({int(match[4]) for match in found})
        pieces: list[bytes] = []
        end = 0
        for match in found:
            string = strings.get(int(match[4]))
            if string is None:
                raise Unwindowed
            pieces += rows[end : match.start()], match[1], b'"inlineStr"', match[2]
            pieces += b"<is>", string, b"</is>"
            end = match.end()
        return b"".join([*pieces, rows[end:]])

    def _workbook(self, parts: dict[str, bytes]) -> CalamineWorkbook:
        content = BytesIO()
        with zipfile.ZipFile(content, "w") as window:
            for name in self._frame:
                window.writestr(name, self._package.read(name))
            for name, xml in parts.items():
                window.writestr(name, xml)
        content.seek(0)
        return CalamineWorkbook.from_filelike(content)

    def _shared_strings(self, name: str) -> Iterator[bytes]:
        rest = b""
        with self._package.open(name) as stream:
            while piece := stream.read(max(self._piece, len(rest))):
                rest = _safe(rest + piece, new=len(piece))
                end = 0
                for match in _STRING.finditer(rest):
                    yield match[2] or b""
                    end = match.end()
                rest = rest[end:]

    def _parts_by_sheet(self) -> dict[str, str]:
        targets = {
            each.get("Id"): each.get("Target", "")
            for each in self._xml("xl/_rels/workbook.xml.rels").iter()
        }
        parts = {}
        for sheet in self._xml("xl/workbook.xml").iterfind(".//{*}sheet"):
            ids = [value for key, value in sheet.items() if key.endswith("}id")]
            part = normpath(join("/xl", targets.get(ids[0], "") if ids else "")).lstrip("/")
            if part in self._package.namelist():
                parts[sheet.get("name", "")] = part
        return parts

    def _xml(self, name: str) -> ET.Element:
        """Parse a small part; none that declares entities gets here."""
        try:
            content = _safe(self._package.read(name))
            return ET.fromstring(content)  # noqa: S314 - no entities
        except (KeyError, ET.ParseError) as error:
            raise Unwindowed from error


class WindowedSheet:
    """A sheet of which one window at a time is in memory."""

    def __init__(self, windows: Windows, name: str, part: str) -> None:
        self.name = name
        self._windows = windows
        self._part = part
        pieces = windows.cut(part)
        self._head = next(pieces)
        self.last_row, tail = 0, b""
        for piece in pieces:
            rows = _ROW.findall(piece)
            self.last_row = max([self.last_row, *map(int, rows[-1:])])
            tail = piece
        prefix = (_SHEET_DATA.search(self._head) or [b"", b""])[1]
        self._end = b"</%ssheetData></%sworksheet>" % (prefix, prefix)
        self.merged = windows.window(name, part, self._head + tail).merged_cell_ranges or []

    def parsed(self) -> Iterator[CalamineSheet]:
        """Give the sheet's windows one after the other.

        Raises:
            Unwindowed: it is to be read whole.
        """
        pieces = self._windows.cut(self._part)
        next(pieces)
        held = next(pieces)
        for following in pieces:
            if held.strip():
                yield self._window(held)
            held = following

    def _window(self, rows: bytes) -> CalamineSheet:
        if not _ROW.match(rows):
            raise Unwindowed  # it would count from the window's first row
        xml = self._head + self._windows.inlined(rows) + self._end
        return self._windows.window(self.name, self._part, xml)


def _is_bulk(name: str) -> bool:
    return name.casefold().startswith(("xl/worksheets/", "xl/sharedstrings"))


def _cut(stream: IO[bytes], size: int) -> Iterator[bytes]:
    rest = b""
    while not (found := _SHEET_DATA.search(rest)):
        rest = _more(stream, rest, size)
    row_end, all_end = (b"</%s%s>" % (found[1], name) for name in (b"row", b"sheetData"))
    yield rest[: found.start()] + b"<%ssheetData>" % found[1]
    rest = (all_end if found[2] else b"") + rest[found.end() :]
    while (end := rest.find(all_end)) < 0:
        if (cut := rest.rfind(row_end)) >= 0:
            cut += len(row_end)
            yield rest[:cut]
            rest = rest[cut:]
        rest = _more(stream, rest, size)
    yield rest[:end]
    yield rest[end:] + _safe(stream.read())


def _more(stream: IO[bytes], rest: bytes, size: int) -> bytes:
    # As much again as there is: an element of any length is looked through a few times only.
    piece = stream.read(max(size, len(rest)))
    if not piece:
        raise Unwindowed
    return _safe(rest + piece, new=len(piece))


def _safe(content: bytes, *, new: int | None = None) -> bytes:
    """Refuse what could hide an end from us: comments, CDATA, letters that are not UTF-8.

    `new` says how many bytes at the end were not looked at before.
    """
    since = 0 if new is None else max(len(content) - new - 1, 0)
    if since == 0 and _OTHER_LETTERS.match(content):
        raise Unwindowed
    if content.find(b"<!", since) >= 0 or content.find(b"\0", since) >= 0:
        raise Unwindowed
    return content
