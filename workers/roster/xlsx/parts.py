"""The parts of a workbook's archive, found by the relationships between them."""

from __future__ import annotations

import zipfile
from posixpath import basename, dirname, join, normpath
from typing import IO, NamedTuple
from urllib.parse import unquote

from workers.roster.errors import RosterError
from workers.roster.xlsx.markup import elements

_MAIN_CONTENT = ".main+xml"
_USUAL_MAIN = "xl/workbook.xml"


class Relation(NamedTuple):
    """A relationship to another part of the package."""

    id: str
    kind: str
    """The last word of its type: `worksheet`, `styles`, …, in both forms of the format."""
    target: str
    """The part's name, from the root of the package."""


class Parts:
    """The parts of a workbook by name, without regard to case and kind of slash."""

    def __init__(self, package: zipfile.ZipFile) -> None:
        self._package = package
        self._names = {_key(name): name for name in package.namelist()}

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._names

    def open(self, name: str) -> IO[bytes]:
        """Open a part.

        Raises:
            RosterError: there is no such part.
        """
        stored = self._names.get(_key(name))
        if stored is None:
            raise RosterError("the file is damaged: a part is missing", code="damaged")
        return self._package.open(stored)

    def relations(self, source: str = "") -> list[Relation]:
        """Return the relationships of a part, or of the package, to parts that are in it."""
        folder = dirname(source)
        listed = join(folder, "_rels", f"{basename(source)}.rels")
        if listed not in self:
            return []
        with self.open(listed) as stream:
            found = [each.attributes for each in elements(stream) if each.name == "Relationship"]
        return [
            Relation(
                each.get("Id", ""),
                each.get("Type", "").rpartition("/")[2],
                _resolved(folder, each.get("Target", "")),
            )
            for each in found
            if each.get("TargetMode", "").casefold() != "external"
        ]

    def main(self) -> str | None:
        """Return the name of the main part, or None if there is none."""
        for relation in self.relations():
            if relation.kind == "officeDocument" and relation.target in self:
                return relation.target
        if "[Content_Types].xml" in self:
            with self.open("[Content_Types].xml") as stream:
                for each in elements(stream):
                    name = each.attributes.get("PartName", "")
                    if each.attributes.get("ContentType", "").endswith(_MAIN_CONTENT):
                        return name if name in self else None
        return _USUAL_MAIN if _USUAL_MAIN in self else None


def _key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()


def _resolved(folder: str, target: str) -> str:
    return normpath(join("/", folder, unquote(target).replace("\\", "/"))).lstrip("/")
