"""Time limits that frameworks enforce by an exception, raised wherever a running job is.

Used by the modules that must not take such an exception for an error of a report.
"""

from __future__ import annotations

import sys

_EXCEPTIONS = (("rq.timeouts", "BaseTimeoutException"), ("huey.exceptions", "TaskTimeout"))
"""Modules of frameworks, and their exceptions that are an `Exception`.

Dramatiq's is none. Celery's is one, but Celery does not let a receiver of its signals raise it."""


def time_limits() -> tuple[type[BaseException], ...]:
    """Return the exceptions of the frameworks that this process has imported.

    They may come while a report waits. They are raised once, so that a job whose exception is
    caught has no time limit any more.
    """
    loaded = ((sys.modules.get(module), name) for module, name in _EXCEPTIONS)
    return tuple(getattr(module, name) for module, name in loaded if module is not None)
