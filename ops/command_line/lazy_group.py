"""A group of commands that imports only the module of the command that is called.

Lists of commands (`--help`, shell completion) are made from a table of names and help texts, of
`CommandEntry`. The module of a command is imported for its own help, its options and its work. Used
by `ops.cli` and `ops.commands`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from ops.command_line.help_texts import epilog_of
from ops.command_line.unconverted_words import skip_conversion

if TYPE_CHECKING:
    from collections.abc import MutableMapping


HELP_OPTIONS = ["-h", "--help"]
_FLAGS = ("install_completion", "show_completion", "help")


class CommandEntry(NamedTuple):
    """The module and attribute of a command, and its text in a list of commands."""

    module: str
    attribute: str
    """A function, or a Typer that is a group of commands."""
    help: str
    """The first paragraph of its help."""
    panel: str | None = None
    """The title above it in a list of commands."""
    hidden: bool = False


class LazyCommands(Mapping[str, Any]):
    """Commands by name; each is imported when it is first used."""

    def __init__(self, entries: Mapping[str, CommandEntry]) -> None:
        self.entries = entries
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self.entries[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def lazy_group(entries: Mapping[str, CommandEntry]) -> type[TyperGroup]:
    """Return a class for `Typer(cls=…)`: the group of these commands."""

    class LazyGroup(TyperGroup):
        """A group whose `get_command` returns stand-ins, and `resolve_command` the real command."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.commands = cast("MutableMapping[str, Any]", LazyCommands(entries))
            self.epilog = epilog_of("")

        def list_commands(self, ctx: Any) -> list[str]:
            """Return the names; nothing is imported."""
            del ctx
            return list(entries)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """Return a stand-in for lists of commands; it has no options and cannot be run."""
            del ctx
            return _listed(cmd_name, entries[cmd_name]) if cmd_name in entries else None

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Parse the options before the command's name."""
            _show_plain_types(self, ctx)
            skip_conversion(self, ctx)
            return super().parse_args(ctx, args)

        def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
            """Return the name, the real command, and the arguments after its name."""
            name, command, rest = super().resolve_command(ctx, args)
            return name, self.commands[name] if name else command, rest

    return LazyGroup


def _listed(name: str, entry: CommandEntry) -> TyperCommand:
    return TyperCommand(name, help=entry.help, hidden=entry.hidden, rich_help_panel=entry.panel)


def _load(name: str, entry: CommandEntry) -> Any:
    found = getattr(import_module(entry.module), entry.attribute)
    command = get_group(found) if isinstance(found, typer.Typer) else _command(found, entry.hidden)
    command.name = name
    command.rich_help_panel = entry.panel
    _prepare(command, name)
    for own_name, each in getattr(command, "commands", {}).items():
        _prepare(each, f"{name} {own_name}")
    return command


def _prepare(command: Any, words: str) -> None:
    command.epilog = epilog_of(words)
    # Lines of a docstring would be broken where they end in the source, and again at the width.
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    context = typer.Context(command, help_option_names=HELP_OPTIONS)
    _show_plain_types(command, context)
    skip_conversion(command, context)


def _show_plain_types(command: Any, context: Any) -> None:
    """Leave out of the help that a flag is a `bool`, and that a repeated option is a list."""
    for parameter in command.get_params(context):
        if getattr(parameter, "is_flag", False) or parameter.name in _FLAGS:
            parameter.metavar = ""
        elif getattr(parameter, "multiple", False):
            parameter.metavar = "<str>"
        elif parameter.display_type(context) == "<int range>":
            parameter.metavar = "<int>"


def _command(function: Callable[..., None], hidden: bool) -> Any:  # noqa: FBT001 - private
    alone = typer.Typer(add_completion=False)
    alone.command(hidden=hidden)(function)
    return get_command(alone)
