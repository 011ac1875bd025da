"""What a command says when it cannot do its work: one line, no traceback."""

from __future__ import annotations

from typing import Any

import typer

from streams.keys import InvalidTenant
from streams.runtime.environment import SettingsError

USAGE_STATUS = 2
"""Exit status where the words of the command were wrong."""

UsageError: type = typer.BadParameter.__mro__[1]
"""What typer raises for every wrong word of a command; it gives it no public name."""


class WrongWord(Exception):
    """A word of the command names what cannot be used; the message is one line."""


class CommandError(Exception):
    """The command failed; the message is one line that says what is wrong and what to do."""


_PLAIN = (CommandError, InvalidTenant, OSError, SettingsError, WrongWord)


def line_for(error: BaseException) -> str | None:
    """Return the line that says what went wrong, or None where it is our own fault."""
    if isinstance(error, _PLAIN):
        return one_line(error)
    from ops import outside_errors  # noqa: PLC0415 - imports all that can fail

    return outside_errors.line_for(error)


def usage_line(error: Any) -> str:
    """Give the line that says which word of the command is wrong; none where help was shown."""
    said = (
        "" if type(error).__name__ == "NoArgsIsHelpError" else _one_line_of(error.format_message())
    )
    if not said or error.ctx is None:
        return said
    return f"{said}: see {error.ctx.command_path} --help"


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line, or else the name of its class."""
    return _one_line_of(str(error)) or type(error).__name__


def _one_line_of(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
