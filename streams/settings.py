"""The environment of one process, read once at its start.

Every variable is `JOBTRAIL_` and the field's name in upper case. A wrong value is one line that
names the variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from streams.environment import (
    DATA_DIR,
    PREFIX,
    SettingsError,
    given,
    is_utf8,
    required,
    required_redis_url,
)

__all__ = ["PREFIX", "Settings", "SettingsError"]

_HOST = r"(?:\[[^\]]*\]|[^:/?#,@\[\]]*)(?::\d*)?"
_DATABASE_URL = re.compile(
    rf"postgres(?:ql)?://(?:[^/?#@]*@)?{_HOST}(?:,{_HOST})*(?:[/?].*)?|\s*\w+\s*=.*", re.DOTALL
)
"""A URL or `name=value` words, as libpq takes them."""
_BAD_ESCAPE = re.compile(r"postgres(?:ql)?://.*%(?:00|(?![0-9A-Fa-f]{2}))", re.DOTALL)
"""A URL with a `%` that libpq cannot decode: its error quotes what may be a password."""

_PATHS = {"data_dir", "limits"}
"""Settings that may have any bytes: names of files need not be UTF-8."""


class Settings(BaseModel):
    """What a process was told by its environment; all durations are in seconds."""

    model_config = ConfigDict(frozen=True)

    redis_url: str | None = Field(default=None, repr=False)  # may hold a password
    database_url: str | None = Field(default=None, repr=False)
    durable_replicas: NonNegativeInt | None = None
    data_dir: Path = Path(DATA_DIR)
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65535)
    api_pool_size: int = Field(default=4, ge=1, le=100)
    api_statement_timeout_seconds: float = Field(default=3.5, ge=0.001, le=3_600)
    auth: Literal["jwt", "dev"] = "jwt"
    jwt_secret: str | None = Field(default=None, repr=False)
    jwks: str | None = Field(default=None, repr=False)
    tokens_without_exp: Literal["refuse", "allow"] = "refuse"
    cors_origins: str | None = None
    rate_limit: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    bad_token_rate_limit: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    client_address_header: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    trusted_proxies: str | None = None
    max_body_bytes: PositiveInt = 65_536
    hsts_seconds: PositiveInt | None = None
    max_streams_per_tenant: PositiveInt = 5_000
    status_ttl_seconds: PositiveInt = 21_600
    ended_ttl_seconds: PositiveInt | None = None
    result_cache_bytes: NonNegativeInt = 10_000
    max_event_bytes: PositiveInt = 1_048_576
    stream_max_bytes: PositiveInt | None = None
    reclaim_idle_seconds: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    stalled_after_seconds: PositiveInt | None = None
    stream_keep_seconds: NonNegativeInt = 86_400
    dead_max_bytes: PositiveInt = 16_777_216
    dead_keep_days: PositiveInt = 30
    history_keep_days: PositiveInt | None = None
    legacy_keys: Literal["on", "off"] = "off"
    limits: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] | None = None
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    metrics_host: str = "127.0.0.1"
    metrics_tenants: Literal["on", "off"] = "off"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment (empty values count as unset).

        Raises:
            SettingsError: a value is not what its variable takes.
        """
        environ = os.environ if environ is None else environ
        found = {
            name: value for name in cls.model_fields if (value := given(environ, name)) is not None
        }
        for name in found.keys() - _PATHS:
            if not is_utf8(found[name]):
                raise SettingsError(f"{PREFIX}{name.upper()} is not UTF-8")
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise SettingsError("; ".join(_lines(error, found))) from None

    @classmethod
    def durable_replicas_of(cls, environ: Mapping[str, str] | None = None) -> int | None:
        """Return the replicas that a durable append needs, or None where that is not set.

        No other variable is read: a worker's process may have others that are not for it.

        Raises:
            SettingsError: the value is not a whole number from 0.
        """
        name = f"{PREFIX}DURABLE_REPLICAS"
        value = (os.environ if environ is None else environ).get(name, "")
        return cls.from_environ({name: value}).durable_replicas

    def require_redis_url(self) -> str:
        """Give the Redis URL, or raise SettingsError where none is set."""
        return required_redis_url(self.redis_url)

    def require_database_url(self) -> str:
        """Give the PostgreSQL URL, or raise SettingsError where none, or no such URL, is set."""
        example = "postgresql://user@127.0.0.1/jobtrail"
        url = required(self.database_url, "database_url", example)
        if not _DATABASE_URL.fullmatch(url):
            # The driver would say what it cannot read, which may be the password.
            raise SettingsError(
                f"{PREFIX}DATABASE_URL is of no known form: give it, e.g. {example}"
            )
        if _BAD_ESCAPE.match(url):
            raise SettingsError(
                f"{PREFIX}DATABASE_URL: in a user, password or option, write % as %25"
            )
        return url


def _lines(error: ValidationError, found: Mapping[str, str]) -> list[str]:
    """One line a wrong variable, with its value unless the field is a secret."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        name = str(problem["loc"][0])
        shown = repr(found[name]) if Settings.model_fields[name].repr else "the value given"
        lines.append(f"{PREFIX}{name.upper()}: {shown} will not do: {problem['msg'].lower()}")
    return lines
