"""Options and arguments that need no conversion: texts and flags.

Typer converts every value with pydantic, whose import takes longer than most commands. Texts and
flags need no conversion; typer still converts and validates all other values. Used by
`ops.command_line.lazy_group`.
"""

from __future__ import annotations

from typing import Any


def skip_conversion(command: Any, ctx: Any) -> None:
    """Let typer pass a command's texts and flags on unchanged, without building a validator."""
    for param in command.get_params(ctx):
        if _is_plain(param):
            # typer's `get_runtime_param` builds the converter on first use and keeps it in this
            # attribute. A version of typer without it converts values and ignores this.
            param._runtime_param = _AsItIs()  # noqa: SLF001 - typer has no public way


class _AsItIs:
    """A converter for typer that returns texts and flags unchanged."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a text or a flag unchanged; let typer convert a value of another type."""
        if value is None or isinstance(value, param.type_descriptor.annotation):
            return value
        param._runtime_param = None  # noqa: SLF001 - typer builds its own again
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _is_plain(param: Any) -> bool:
    descriptor = getattr(param, "type_descriptor", None)
    if descriptor is None or param.multiple or param.nargs != 1:
        return False
    return descriptor.annotation in (str, bool) and descriptor.parameter_info.parser is None
