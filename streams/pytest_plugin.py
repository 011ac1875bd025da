"""Plugin of pytest, which the worker's package registers: the fixture `recorded_jobs`.

Only pytest imports this module, and the reporters are imported by the first test that uses the
fixture, so that other tests do not pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from .recording import RecordedJobs


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixture; here, because this module can be imported without pytest."""
    import pytest  # noqa: PLC0415 - applications without pytest have this module too

    class Fixtures:
        @pytest.fixture
        def recorded_jobs(self) -> Iterator[RecordedJobs]:
            """Jobs that the test reports; nothing is sent, and no server is needed."""
            from .recording import recording  # noqa: PLC0415 - takes a tenth of a second

            with recording() as jobs:
                yield jobs

    config.pluginmanager.register(Fixtures(), "jobtrail_fixtures")
