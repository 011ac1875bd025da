"""The parts of a workbook's package (its zip members), found by the relationships between them.

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
    """The parts of a workbook by name.

    Case, the kind of slash and percent-encoding make no difference: producers write a name in one
    way in the archive and in another in a relationship.
    """

    def __init__(self, package: zipfile.ZipFile) -> None:
        self._package = package
        self._names = {key(name): name for name in package.namelist()}

    def __contains__(self, name: str) -> bool:
        return key(name) in self._names

    def open(self, name: str) -> IO[bytes]:
        """Open a part to read its inflated content.

        Raises:
            RosterError: there is no such part.
            zipfile.BadZipFile, NotImplementedError, OSError: the archive is damaged there.
            RuntimeError: the part is encrypted.
        """
        stored = self._names.get(key(name))
        if stored is None:
            raise RosterError("the file is damaged: a part is missing", code="damaged")
        return self._package.open(stored)

    def relationships(self, source: str = "") -> list[Relationship]:
        """Return the relationships of a part to other parts of the package.

        With an empty `source`, return those of the package itself. Relationships to something
        outside the package are omitted. A target need not exist.

        Raises:
            RosterError: the list of relationships is not well-formed XML; and what `open` raises.
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

        The relationships of the package name it. Where they do not, an override of the content
        types does. In a package with neither, the main part has the usual name.

        Raises:
            RosterError: one of these parts is not well-formed XML; and what `open` raises.
        """
        for relationship in self.relationships():
            if relationship.kind == "officeDocument" and relationship.target in self:
                return relationship.target
        if "[Content_Types].xml" in self:
            with self.open("[Content_Types].xml") as stream:
                for each in elements(stream):
                    # A default type is that of a file name extension, and names no part.
                    name = each.attributes.get("PartName")
                    is_main = each.attributes.get("ContentType", "").endswith(_MAIN_CONTENT)
                    if is_main and name is not None:
                        # A workbook has one main part: the usual name would be another part.
                        return name if name in self else None
        return _USUAL_MAIN if _USUAL_MAIN in self else None


def key(name: str) -> str:
    """Return what all spellings of a part's name have in common, without the first slash."""
    return unquote(name).replace("\\", "/").lstrip("/").casefold()


def _resolved(folder: str, target: str) -> str:
    return normpath(join("/", folder, target.replace("\\", "/"))).lstrip("/")
