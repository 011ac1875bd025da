"""Methods of a framework that are wrapped, where it has no signals.

Used by the integrations of frameworks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any


class Methods:
    """The methods that one integration has wrapped."""

    def __init__(self) -> None:
        self._originals: list[tuple[type, str, Any]] = []

    def wrap(self, of: type, name: str, wrapper: Callable[..., Any]) -> None:
        """Replace a method by one that passes it to `wrapper`, followed by its arguments.

        It is replaced in the class that defines it, which may be a base of `of`.

        Raises:
            AttributeError: there is no such method; all methods are restored.
        """
        owner = next((each for each in of.__mro__ if name in vars(each)), None)
        if owner is None:
            self.restore()
            raise AttributeError(
                f"{of.__name__} has no method {name}: this version is not supported"
            )
        original = vars(owner)[name]

        @wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return wrapper(original, *args, **kwargs)

        setattr(owner, name, wrapped)
        self._originals.append((owner, name, original))

    def restore(self) -> None:
        """Put all original methods back."""
        while self._originals:
            owner, name, original = self._originals.pop()
            setattr(owner, name, original)
