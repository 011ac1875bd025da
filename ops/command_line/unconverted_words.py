"""Options and arguments that need no conversion: texts and flags.

Typer converts every value with pydantic, whose import takes longer than most commands. Texts and
flags need no conversion; typer still converts and validates all other values.
"""

from __future__ import annotations

from typing import Any


def take_words_as_they_are(command: Any, ctx: Any) -> None:
    """Take the texts and flags of a command as they are, without building a validator."""
    for param in command.get_params(ctx):
        if _is_plain(param):
            # typer's `get_runtime_param` builds the converter on first use and keeps it in this
            # attribute. A version of typer without it converts values and ignores this.
            param._runtime_param = _AsItIs()  # noqa: SLF001 - typer has no public way


class _AsItIs:
    """A converter for typer that returns texts and flags unchanged."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value; one of another type is converted by typer."""
        if value is None or isinstance(value, param.type_descriptor.annotation):
            return value
        param._runtime_param = None  # noqa: SLF001 - typer builds its own again
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _is_plain(param: Any) -> bool:
    descriptor = getattr(param, "type_descriptor", None)
    if descriptor is None or param.multiple or param.nargs != 1:
        return False
    return descriptor.annotation in (str, bool) and descriptor.parameter_info.parser is None
