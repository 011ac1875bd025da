"""The command line: it runs the command that its arguments name, and prints its error.

An error is one line on standard error and exit status 1, or 2 where options or arguments are not
valid. Used by `jobtrail_command`.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from ops.addresses import with_running_up
from ops.command_line.lazy_group import HELP_OPTIONS, lazy_group
from ops.commands import COMMANDS
from ops.errors import USAGE_STATUS, UsageError, WrongArgument, line_for, usage_line
from ops.printing import complain, give_up_output, prepare_streams, print_line, writing
from ops.unknown_variables import unknown_variables
from streams.runtime.interrupts import obey_signals
from streams.version import __version__

app = typer.Typer(
    name="jobtrail",
    cls=lazy_group(COMMANDS),
    help="Job progress for multi-tenant products.",
    no_args_is_help=True,
    context_settings={"help_option_names": HELP_OPTIONS},
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line and exit; an error is printed as one line on standard error."""
    obey_signals()
    prepare_streams()
    if os.environ.get("NO_COLOR"):
        # Typer's help would still be bold; the variable is read when its help is imported.
        os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"
    try:
        with writing(sys.stdout):
            status = app(prog_name="jobtrail", standalone_mode=False)
    except BrokenPipeError:
        # The reader of the output has gone.
        give_up_output()
        status = 1
    except Exception as error:
        status = _failed(error)
    sys.exit(status)


def _failed(error: Exception) -> int:
    """Print the line for an error, and return the exit status.

    An error that is a defect of this program is raised again, with its traceback.
    """
    wrong_usage = isinstance(error, UsageError | WrongArgument)
    line = usage_line(error) if isinstance(error, UsageError) else line_for(error)
    if line is None:
        raise error
    if line:
        complain(with_running_up(line))
    return USAGE_STATUS if wrong_usage else 1


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - called by typer
    if wanted:
        print_line(f"jobtrail {__version__}")
        raise typer.Exit


@app.callback()
def before_every_command(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Job progress for multi-tenant products."""
    for warning in unknown_variables(os.environ, sys.argv):
        complain(f"warning: {warning}")
