"""Wrapping of a framework's methods, for frameworks that have no hooks for what is reported.

Used by `streams.integrations.arq` and `streams.integrations.rq`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any


class Methods:
    """The methods that one integration has wrapped."""

    def __init__(self) -> None:
        self._wrapped: list[_Wrapped] = []

    def wrap(self, of: type, name: str, wrapper: Callable[..., Any]) -> None:
        """Have `wrapper` called in place of a method of a class.

        It is called with the original method and the arguments of the call, the first of which is
        the object, or the class for a class method. The wrapper of a coroutine method must be one,
        too. The method is replaced in the class that defines it, which may be a base of `of`.

        Raises:
            AttributeError: there is no such method; all methods are restored.
        """
        owner = next((each for each in of.__mro__ if name in vars(each)), None)
        if owner is None:
            self.restore()
            raise AttributeError(
                f"{of.__name__} has no method {name}: this version is not supported"
            )
        self._wrapped.append(_Wrapped(owner, name, wrapper))

    def restore(self) -> None:
        """Restore all original methods.

        A method that something else has wrapped since keeps that wrapper, which calls the original
        from now on.
        """
        while self._wrapped:
            self._wrapped.pop().restore()


class _Wrapped:
    """A method that is replaced, from now on until `restore` is called."""

    def __init__(self, owner: type, name: str, wrapper: Callable[..., Any]) -> None:
        self._owner = owner
        self._name = name
        self._original = vars(owner)[name]
        self._wrapper: Callable[..., Any] | None = wrapper
        self._replacement = self._replaced()
        setattr(owner, name, self._replacement)

    def restore(self) -> None:
        self._wrapper = None
        if vars(self._owner).get(self._name) is self._replacement:
            setattr(self._owner, self._name, self._original)

    def _replaced(self) -> object:
        """Return the replacement, which is of the same type as the original."""
        if isinstance(self._original, classmethod | staticmethod):
            return type(self._original)(self._calling(self._original.__func__))
        return self._calling(self._original)

    def _calling(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that calls the wrapper with a method, while there is a wrapper."""

        def call(*args: Any, **kwargs: Any) -> Any:
            wrapper = self._wrapper
            return method(*args, **kwargs) if wrapper is None else wrapper(method, *args, **kwargs)

        async def call_coroutine(*args: Any, **kwargs: Any) -> Any:
            return await call(*args, **kwargs)

        return wraps(method)(call_coroutine if inspect.iscoroutinefunction(method) else call)
