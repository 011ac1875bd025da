"""A group of commands that knows them all and imports the one that is called.

Lists of commands (`--help`, shell completion) take names and first paragraphs from a table. Only
a command's own help, its options and its work need the module that it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from ops.command_line.unconverted_words import take_words_as_they_are

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Place(NamedTuple):
    """The place of a command in the code, and its line in a list of commands."""

    module: str
    attribute: str
    """A function, or a Typer with commands of its own."""
    help: str
    """The first paragraph of its help."""
    hidden: bool = False


class LazyCommands(Mapping[str, Any]):
    """Commands by name; each is imported when it is first asked for."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.places = places
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self.places[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def lazy_group(places: Mapping[str, Place]) -> type[TyperGroup]:
    """Return the class of a group of these commands, for `Typer(cls=…)`."""

    class LazyGroup(TyperGroup):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.commands = cast("MutableMapping[str, Any]", LazyCommands(places))

        def list_commands(self, ctx: Any) -> list[str]:
            """Return the names; nothing is imported."""
            del ctx
            return list(places)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """Return what lists of commands show; it can be neither run nor asked for its help."""
            del ctx
            return _listed(cmd_name, places[cmd_name]) if cmd_name in places else None

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Parse the words before the command's name."""
            take_words_as_they_are(self, ctx)
            return super().parse_args(ctx, args)

        def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
            """Return the real command that the arguments begin with."""
            name, command, rest = super().resolve_command(ctx, args)
            return name, self.commands[name] if name else command, rest

    return LazyGroup


def _listed(name: str, place: Place) -> TyperCommand:
    return TyperCommand(name, help=place.help, hidden=place.hidden)


def _load(name: str, place: Place) -> Any:
    found = getattr(import_module(place.module), place.attribute)
    command = get_group(found) if isinstance(found, typer.Typer) else _command(found, place.hidden)
    command.name = name
    for each in (command, *getattr(command, "commands", {}).values()):
        take_words_as_they_are(each, typer.Context(each))
    return command


def _command(function: Callable[..., None], hidden: bool) -> Any:  # noqa: FBT001 - private
    alone = typer.Typer(add_completion=False)
    alone.command(hidden=hidden)(function)
    return get_command(alone)
