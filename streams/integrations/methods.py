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

    def wrap(self, owner: type, name: str, wrapper: Callable[..., Any]) -> None:
        """Replace a method by one that passes it to `wrapper`, followed by its arguments."""
        original = owner.__dict__[name]

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
