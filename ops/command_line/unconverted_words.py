"""Options and arguments take words as they are where nothing is to be converted.

Typer validates every value with pydantic, whose import takes longer than most commands. A text is
one already, and so is a flag that was given or not; all else is still for typer to judge.
"""

from __future__ import annotations

from typing import Any


def take_words_as_they_are(command: Any, ctx: Any) -> None:
    """Let the texts and flags of a command be taken without building a validator."""
    for param in command.get_params(ctx):
        if _is_plain(param):
            # It is what `get_runtime_param` builds when it is first asked. A version of typer that
            # has no such attribute converts values by itself, and never reads this.
            param._runtime_param = _AsItIs()  # noqa: SLF001 - typer has no public way


class _AsItIs:
    """Stands where typer keeps what converts a value."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value; what is not plain is for typer."""
        if value is None or isinstance(value, param.type_descriptor.annotation):
            return value
        param._runtime_param = None  # noqa: SLF001 - typer builds its own now
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _is_plain(param: Any) -> bool:
    descriptor = getattr(param, "type_descriptor", None)
    if descriptor is None or param.multiple or param.nargs != 1:
        return False
    return descriptor.annotation in (str, bool) and descriptor.parameter_info.parser is None
