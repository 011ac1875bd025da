"""XML parts of a workbook, parsed in pieces by expat.

A document type declaration is refused, so that no entity is ever expanded. Used by
`workers.roster.xlsx.formats`, `workers.roster.xlsx.parts`, `workers.roster.xlsx.workbook` and
`workers.roster.xlsx.worksheet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, NamedTuple, NoReturn
from xml.parsers import expat

from workers.roster.errors import RosterError

PIECE_BYTES = 64 * 1024
"""The number of bytes that are parsed at a time."""

Attributes = dict[str, str]
Start = Callable[[str, Attributes], None]
End = Callable[[str], None]


class Handlers:
    """Callbacks for the elements and texts of a part; names have no namespace prefix."""

    def start(self, name: str, attributes: Attributes) -> None:
        """Handle the start of an element."""

    def end(self, name: str) -> None:
        """Handle the end of an element."""

    def text(self, text: str) -> None:
        """Handle character data: all or a part of the text between two tags."""


def parse(stream: IO[bytes], handlers: Handlers, piece: int = PIECE_BYTES) -> Iterator[None]:
    """Parse a part; yield after each piece, so that the caller can take what was collected.

    Raises:
        RosterError: the part is not well-formed, or declares a document type.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = _Root(parser, handlers).start
    parser.CharacterDataHandler = handlers.text
    while True:
        content = stream.read(piece)
        try:
            parser.Parse(content, not content)
        except (expat.ExpatError, ValueError, LookupError) as error:  # also: unknown encodings
            raise RosterError("the file is damaged: its XML is broken", code="damaged") from error
        yield
        if not content:
            return


class _Root:
    """The handler of the root element, which determines the prefix of all names."""

    def __init__(self, parser: expat.XMLParserType, handlers: Handlers) -> None:
        self._parser = parser
        self._handlers = handlers

    def start(self, name: str, attributes: Attributes) -> None:
        prefix, colon, _ = name.rpartition(":")
        start: Start = self._handlers.start
        end: End = self._handlers.end
        if colon:
            start, end = _without(prefix + colon, start, end)
        self._parser.StartElementHandler = start
        self._parser.EndElementHandler = end
        start(name, attributes)


def _without(prefix: str, start: Start, end: End) -> tuple[Start, End]:
    def prefixed_start(name: str, attributes: Attributes) -> None:
        start(name.removeprefix(prefix), attributes)

    def prefixed_end(name: str) -> None:
        end(name.removeprefix(prefix))

    return prefixed_start, prefixed_end


def _refuse_doctype(*_declared: object) -> NoReturn:
    raise RosterError("declares entities, as no workbook does", code="bomb")


class Element(NamedTuple):
    """An element of a small part; the names have no prefix."""

    parent: str
    name: str
    attributes: Attributes


def elements(stream: IO[bytes]) -> list[Element]:
    """Return all elements of a small part in order."""
    collected = _Collected()
    for _ in parse(stream, collected):
        pass
    return collected.found


class _Collected(Handlers):
    def __init__(self) -> None:
        self.found: list[Element] = []
        self._open = [""]

    def start(self, name: str, attributes: Attributes) -> None:
        local = name.rpartition(":")[2]
        self.found.append(Element(self._open[-1], local, attributes))
        self._open.append(local)

    def end(self, name: str) -> None:  # noqa: ARG002 - all elements end alike
        self._open.pop()
