"""Errors of commands, and the one line that is printed for each error.

Errors of servers and their client libraries have their lines in `ops.outside_errors`, which is only
imported for errors that are not of this module. Used by the modules of `ops`.
"""

from __future__ import annotations

from typing import Any

import typer

from streams.keys import InvalidTenant
from streams.runtime import safe_text
from streams.runtime.environment import SettingsError

USAGE_STATUS = 2
"""The exit status if the options or arguments of a command are not valid."""

UsageError: type = typer.BadParameter.__mro__[1]
"""The base class of typer's errors for options and arguments, which has no public name."""


class WrongArgument(Exception):
    """An argument has a valid form but names something that cannot be used, such as a missing file.

    The message is one line; the exit status is 2, as for options that are not valid.
    """


class CommandError(Exception):
    """The command failed for another reason; the exit status is 1.

    The message is one line with the problem and what to do about it.
    """


_PLAIN = (CommandError, InvalidTenant, OSError, SettingsError, WrongArgument)


def line_for(error: BaseException) -> str | None:
    """Return the line to print for an error, or None for a defect of this program."""
    if isinstance(error, _PLAIN):
        return one_line(error)
    from ops import outside_errors  # noqa: PLC0415 - imports all client libraries

    return outside_errors.line_for(error)


def usage_line(error: Any) -> str:
    """Return the line for typer's error; empty if typer has printed the help instead."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return ""
    message = _joined_lines(error.format_message())
    if not message or error.ctx is None:
        return message
    return f"{message}: see {error.ctx.command_path} --help"


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line, or the name of its class if it has none."""
    return safe_text.one_line(error).rstrip(".")


def _joined_lines(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
