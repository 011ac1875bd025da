"""Wrapping of a framework's methods: the wrapped method is of the type that it was."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from streams.integrations.methods import Methods


def framework() -> type[Any]:
    class Base:
        """A class of a framework."""

        def plain(self, value: int) -> tuple[object, int]:
            return self, value

        @classmethod
        def of_class(cls, value: int) -> tuple[object, int]:
            return cls, value

        @staticmethod
        def static(value: int) -> tuple[object, int]:
            return None, value

        async def coroutine(self, value: int) -> tuple[object, int]:
            await asyncio.sleep(0)
            return self, value

    class Queue(Base):
        """A class that inherits the methods."""

    return Queue


def wrap(methods: Methods, of: type, calls: list[object]) -> None:
    def report(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        calls.append(method.__name__)
        return method(*args, **kwargs)

    async def report_coroutine(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        calls.append(method.__name__)
        return await method(*args, **kwargs)

    for name in ("plain", "of_class", "static"):
        methods.wrap(of, name, report)
    methods.wrap(of, "coroutine", report_coroutine)


def test_methods_of_every_type__are_called_as_before() -> None:
    queue, calls, methods = framework(), list[object](), Methods()
    wrap(methods, queue, calls)
    made = queue()
    for _ in range(2):  # wrapped, and restored
        assert made.plain(1) == (made, 1)
        assert made.of_class(2) == queue.of_class(value=2) == (queue, 2)
        assert made.static(3) == queue.static(3) == (None, 3)
        assert asyncio.run(made.coroutine(value=4)) == (made, 4)
        assert inspect.iscoroutinefunction(queue.coroutine)
        assert not inspect.iscoroutinefunction(queue.plain)
        assert inspect.signature(queue.plain) == inspect.signature(framework().plain)
        assert calls == ["plain", "of_class", "of_class", "static", "static", "coroutine"]
        methods.restore()


def test_restore__keeps_the_later_wrapper_of_another_tool() -> None:
    queue, calls, methods = framework(), list[object](), Methods()
    wrap(methods, queue, calls)
    base: Any = queue.__mro__[1]
    ours = base.plain

    @wraps(ours)
    def traced(self: Any, value: int) -> Any:
        calls.append("traced")
        return ours(self, value)

    base.plain = traced
    made = queue()
    made.plain(1)
    assert calls == ["traced", "plain"]
    methods.restore()
    assert made.plain(1) == (made, 1)
    assert calls == ["traced", "plain", "traced"]
    wrap(methods, queue, calls)
    made.plain(1)
    assert calls[3:] == ["plain", "traced"]


def test_method_that_does_not_exist__restores_the_others() -> None:
    queue, methods = framework(), Methods()
    before = vars(queue.__mro__[1])["of_class"]
    wrap(methods, queue, [])
    with pytest.raises(AttributeError, match="Queue has no method gone: this version"):
        methods.wrap(queue, "gone", lambda method: method())
    assert vars(queue.__mro__[1])["of_class"] is before
