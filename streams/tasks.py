"""Functions as jobs: the decorator behind `Reporter.task` and `AsyncReporter.task`.

Used by `streams.async_reporter` and `streams.reporter`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, TypeVar, cast

from .event_ids import new_event_id
from .reporting.base import Attempt, Id, Labels

if TYPE_CHECKING:
    from .async_reporter import AsyncReporter
    from .reporter import Reporter

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Decorator(Protocol):
    """A decorator that keeps the signature of a function or a coroutine."""

    def __call__(self, function: Callable[_P, _R], /) -> Callable[_P, _R]:
        """Return the function that reports its calls."""


class TaskOptions(NamedTuple):
    """Arguments of `Reporter.job`, or functions that return them for the arguments of a call."""

    tenant: Id | Callable[..., Id]
    id: Id | Callable[..., Id] | None = None
    kind: str = "job"
    job_type: str | None = None
    attempt: Attempt | Callable[..., Attempt] = 1
    labels: Labels | Callable[..., Labels] | None = None

    def of_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of `Reporter.job` for one call; raises what the functions raise."""
        found = {
            name: value(*args, **kwargs) if callable(value) else value
            for name, value in self._asdict().items()
        }
        if self.id is None:
            found["id"] = new_event_id()
        return found


def task_decorator(
    options: TaskOptions,
    blocking: Callable[[], Reporter],
    asynchronous: Callable[[], AsyncReporter],
) -> Decorator:
    """Return the decorator; functions are reported by one reporter and coroutines by the other."""

    def decorate(function: Callable[_P, _R], /) -> Callable[_P, _R]:
        return _reported(options, function, blocking, asynchronous)

    return decorate


def _reported(
    options: TaskOptions,
    function: Callable[_P, _R],
    blocking: Callable[[], Reporter],
    asynchronous: Callable[[], AsyncReporter],
) -> Callable[_P, _R]:
    """Return a function that does the same in a job of its own, whose result is what it returns.

    Raises:
        TypeError: the function is a generator, whose end no call can wait for.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} is a generator: report the loop that uses it")
    if options.job_type is None:
        name = getattr(function, "__qualname__", type(function).__name__)
        options = options._replace(job_type=name.rpartition("<locals>.")[2][-200:])
    if inspect.iscoroutinefunction(function):
        made = _coroutine(options, function, asynchronous())
        return cast("Callable[_P, _R]", made)
    return _function(options, function, blocking())


def _function(
    options: TaskOptions, function: Callable[_P, _R], reporter: Reporter
) -> Callable[_P, _R]:
    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        fields = _fields(options, reporter, args, kwargs)
        if fields is None:
            return function(*args, **kwargs)
        with reporter.job(**fields) as job:
            result = function(*args, **kwargs)
            if not job.ended:
                job.done(result)
        return result

    return run


def _coroutine(
    options: TaskOptions,
    function: Callable[_P, Coroutine[Any, Any, _R]],
    reporter: AsyncReporter,
) -> Callable[_P, Coroutine[Any, Any, _R]]:
    @wraps(function)
    async def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        fields = _fields(options, reporter, args, kwargs)
        if fields is None:
            return await function(*args, **kwargs)
        async with reporter.job(**fields) as job:
            result = await function(*args, **kwargs)
            if not job.ended:
                await job.done(result)
        return result

    return run


def _fields(
    options: TaskOptions,
    reporter: Reporter | AsyncReporter,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Return the job's arguments, or None, with a warning, if a function for them failed."""
    try:
        return options.of_call(args, kwargs)
    except Exception as error:
        if reporter.mistakes.strict:
            raise
        problem = f"{type(error).__name__}: {error}"
        reporter.mistakes.warn(options.job_type, "the call is not reported", problem)
        return None
