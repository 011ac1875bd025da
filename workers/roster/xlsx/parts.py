"""The parts of a workbook's package, found by the relationships between them.

Used by `workers.roster.xlsx.package` and `workers.roster.xlsx.workbook`.
"""

from __future__ import annotations

import zipfile
from posixpath import basename, dirname, join, normpath
from typing import IO, NamedTuple
from urllib.parse import unquote

from workers.roster.errors import RosterError
from workers.roster.xlsx.markup import elements

_MAIN_CONTENT = ".main+xml"
_USUAL_MAIN = "xl/workbook.xml"


class Relationship(NamedTuple):
    """A relationship to another part of the package."""

    id: str
    kind: str
    """The last segment of the relationship's type, a URL: `worksheet`, `styles`, …. It is the same
    in the transitional and in the strict form of the format."""
    target: str
    """The name of the other part, from the root of the package; the part may be missing."""


class Parts:
    """The parts of a workbook by name, regardless of case and of the kind of slash."""

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

    def relationships(self, source: str = "") -> list[Relationship]:
        """Return the relationships of a part to other parts of the package.

        With an empty `source`, return those of the package itself. Relationships to something
        outside the package are omitted. A target need not exist.
        """
        folder = dirname(source)
        listed = join(folder, "_rels", f"{basename(source)}.rels")
        if listed not in self:
            return []
        with self.open(listed) as stream:
            found = [each.attributes for each in elements(stream) if each.name == "Relationship"]
        return [
            Relationship(
                each.get("Id", ""),
                each.get("Type", "").rpartition("/")[2],
                _resolved(folder, each.get("Target", "")),
            )
            for each in found
            if each.get("TargetMode", "").casefold() != "external"
        ]

    def main(self) -> str | None:
        """Return the name of the main part, or None if there is none.

        The relationships of the package name it; in packages without them, the content types do.
        """
        for relationship in self.relationships():
            if relationship.kind == "officeDocument" and relationship.target in self:
                return relationship.target
        if "[Content_Types].xml" in self:
            with self.open("[Content_Types].xml") as stream:
                for each in elements(stream):
                    name = each.attributes.get("PartName", "")
                    if each.attributes.get("ContentType", "").endswith(_MAIN_CONTENT):
                        # A workbook has one main part: without it, the file is damaged.
                        return name if name in self else None
        return _USUAL_MAIN if _USUAL_MAIN in self else None


def _key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()


def _resolved(folder: str, target: str) -> str:
    return normpath(join("/", folder, unquote(target).replace("\\", "/"))).lstrip("/")
