"""The environment of commands that run as child processes."""

from __future__ import annotations

import pytest

from ops.tasks.running.own_commands import own_environ
from streams.settings import Settings

NAMES = ("redis_url", "api_port", "metrics_port", "auth")


def test_named_settings__are_those_of_the_child_whatever_the_parent_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOBTRAIL_REDIS_URL", "redis://parent")
    monkeypatch.setenv("JOBTRAIL_METRICS_PORT", "9000")
    monkeypatch.setenv("JOBTRAIL_LOG_LEVEL", "debug")
    monkeypatch.setenv("JOBTRAIL_NO_SUCH_SETTING", "1")
    child = Settings(redis_url="redis://child", api_port=0, metrics_port=None, auth="dev")
    environ = own_environ(child, NAMES)
    found = {name: text for name, text in environ.items() if name.startswith("JOBTRAIL_")}
    expected = child.model_dump(include=set(NAMES))
    assert Settings.from_environ(found).model_dump(include=set(NAMES)) == expected
    assert environ["JOBTRAIL_LOG_LEVEL"] == "debug"
    assert "JOBTRAIL_METRICS_PORT" not in environ
    assert "JOBTRAIL_NO_SUCH_SETTING" not in environ
