"""XML parts read in pieces by expat, in any encoding that the format allows.

A document type is refused by the parser itself: no entity is ever expanded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, NamedTuple, NoReturn
from xml.parsers import expat

from workers.roster.errors import RosterError

PIECE = 64 * 1024
"""Bytes that the parser is fed at a time."""

Attributes = dict[str, str]
Start = Callable[[str, Attributes], None]
End = Callable[[str], None]


class Handlers:
    """The callbacks for a part's elements and text; names come without the root's prefix."""

    def start(self, name: str, attributes: Attributes) -> None:
        """Handle the start of an element."""

    def end(self, name: str) -> None:
        """Handle the end of an element."""

    def text(self, text: str) -> None:
        """Handle character data, the whole of it between two tags or a part of that."""


def parse(stream: IO[bytes], handlers: Handlers, piece: int = PIECE) -> Iterator[None]:
    """Parse a part; after each piece of it the caller may take what the handlers collected.

    Raises:
        RosterError: it is not well-formed, or has a document type.
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
    """The handler of the root element: it finds the prefix that all other names have, if any."""

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
    """An element of a small part; its name and its parent's have no prefix."""

    parent: str
    name: str
    attributes: Attributes


def elements(stream: IO[bytes]) -> list[Element]:
    """Return a small part's elements in their order."""
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
