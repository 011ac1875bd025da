"""Settings of a process, from its environment variables.

The name of a variable is `JOBTRAIL_` and the name of the field in upper case. Each process of the
service reads all of them once, at its start; a value that is not valid is an error of one line that
names the variable. The worker's package reads those of its Redis and its durable appends. Used by
`api`, `consumers.composition`, `ops`, `projections.registry` and `streams`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
)

from .runtime.environment import (
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
"""A URL with a `%` that libpq cannot decode; its error would quote what may be a password."""

_OptionalCount = Annotated[
    PositiveInt | None,
    BeforeValidator(lambda value: None if str(value).lower() in {"none", "off"} else value),
]
"""A number, or `none` or `off` for the default, which is no number."""

_PATHS = {"data_dir", "limits"}
"""Settings that may have any bytes, because names of files need not be UTF-8."""

_WORDS = ("auth", "tokens_without_exp", "legacy_keys", "log_level", "log_format", "metrics_tenants")
"""Settings that are one of a few words."""

_OF_WORKER = ("redis_url", "durable_replicas", "max_event_bytes", "stream_max_bytes")
"""Settings of a process that only reports."""


class Settings(BaseModel):
    """Settings of one process; all durations are in seconds."""

    model_config = ConfigDict(frozen=True)

    redis_url: str | None = Field(default=None, repr=False)  # may hold a password
    """Redis: `redis://`, `rediss://` (TLS) or `unix://`, which must lead to a primary; or
    `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB` (`rediss+sentinel://` with TLS),
    with the options `sentinel_username` and `sentinel_password` for the Sentinels' own login.
    """
    database_url: str | None = Field(default=None, repr=False)
    """PostgreSQL, directly or through PgBouncer."""
    database_read_url: str | None = Field(default=None, repr=False)
    """A replica of that PostgreSQL, for lists, rows and history; by default the same server."""
    durable_replicas: NonNegativeInt | None = None
    """Replicas that a durable append waits for. By default as many as the process has ever seen."""
    data_dir: Path = Path(DATA_DIR)
    """Folder in which `jobtrail up` keeps the data of its embedded servers."""
    api_host: str = "127.0.0.1"
    """Address that the API listens on."""
    api_port: int = Field(default=8000, ge=0, le=65535)
    """Port that the API listens on; 0 takes a free one."""
    api_pool_size: int = Field(default=4, ge=1, le=100)
    """Connections to PostgreSQL that one API process may open."""
    api_statement_timeout_seconds: float = Field(default=3.5, ge=0.001, le=3_600)
    """Longest time that one statement of a list, row or history request may run."""
    auth: Literal["jwt", "dev"] = "jwt"
    """`jwt`, or `dev`, which believes `X-Tenant-ID` and listens on loopback only."""
    jwt_secret: str | None = Field(default=None, repr=False)
    """Secret of HS256 tokens, at least 32 bytes."""
    jwks: str | None = Field(default=None, repr=False)
    """Public keys of RS256, ES256 or EdDSA tokens, as a JSON Web Key Set: the JSON itself, or the
    path of a file.
    """
    tokens_without_exp: Literal["refuse", "allow"] = "refuse"
    """`allow` accepts tokens that never expire."""
    cors_origins: str | None = None
    """Origins, separated by commas, whose pages may call the API."""
    rate_limit: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Requests a second that one caller may make; without it there is no limit."""
    bad_token_rate_limit: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    """Refused tokens a second from one address before that address gets 429."""
    client_address_header: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    """Header in which the proxy passes the client's address on."""
    trusted_proxies: str | None = None
    """Addresses or networks, separated by commas, whose `client_address_header` is believed."""
    max_body_bytes: PositiveInt = 65_536
    """Largest request body."""
    hsts_seconds: PositiveInt | None = None
    """`max-age` of `Strict-Transport-Security`; without it the header is not sent."""
    max_streams_per_tenant: PositiveInt = 5_000
    """Live streams and held requests that one tenant may have open in one process."""
    status_ttl_seconds: PositiveInt = 21_600
    """Time to live of the Redis documents of a job that has not ended, renewed by each event."""
    ended_ttl_seconds: _OptionalCount = None
    """Time to live of the Redis documents of an ended job; without it they stay."""
    result_cache_bytes: NonNegativeInt = 10_000
    """Results of this size or more are left out of the Redis document; the row has them."""
    max_event_bytes: PositiveInt = 1_048_576
    """Largest event. The SDK refuses a larger one; appended directly, it becomes a dead letter."""
    stream_max_bytes: PositiveInt | None = None
    """Size of a tenant's stream above which appends drop `progress` events; never another type."""
    reclaim_idle_seconds: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Time after which another consumer takes over entries that a consumer has not acknowledged."""
    stalled_after_seconds: _OptionalCount = None
    """Silence after which a processing job is ended as `failed` with the code `stalled`; off by
    default.
    """
    stream_keep_seconds: NonNegativeInt = 86_400
    """Age from which settled entries may be trimmed from a stream."""
    dead_max_bytes: PositiveInt = 16_777_216
    """Most bytes of dead letters that one tenant may have; the oldest are dropped."""
    dead_keep_days: PositiveInt = 30
    """Age at which dead letters are dropped."""
    history_keep_days: _OptionalCount = None
    """Age at which whole weeks of the history are dropped; without it all is kept."""
    legacy_keys: Literal["on", "off"] = "off"
    """`on` reads the progress keys of workers that do not append events yet."""
    limits: Path | None = None
    """File with the replica limits of a deployment, which `jobtrail doctor` checks."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    log_format: Literal["json", "console"] | None = None
    """`json` or `console`. By default `console` on a terminal, otherwise `json`."""
    prometheus_url: str | None = Field(default=None, repr=False, pattern=r"^https?://[^\s?#]+$")
    """URL of the Prometheus whose alerts the console shows; without it the console shows none."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Port on which a consumer serves `/metrics`; 0 takes a free one, without it none is served.
    The consumers of `jobtrail consume GROUP --processes N` take this port and those that follow.
    """
    metrics_host: str = "127.0.0.1"
    """Address on which a consumer serves `/metrics`."""
    metrics_tenants: Literal["on", "off"] = "off"
    """`on` adds the metrics that name the 100 tenants furthest behind."""

    @field_validator(*_WORDS, mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        """Accept words in capitals, such as `INFO`."""
        return value.lower() if isinstance(value, str) else value

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Return the settings of an environment; empty values count as unset.

        Raises:
            SettingsError: a value is not valid.
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
    def of_worker(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Return the settings that a reporter uses; no other variable is read.

        Raises:
            SettingsError: a value is not valid.
        """
        environ = os.environ if environ is None else environ
        names = (f"{PREFIX}{name.upper()}" for name in _OF_WORKER)
        return cls.from_environ({name: environ.get(name, "") for name in names})

    @classmethod
    def durable_replicas_of(cls, environ: Mapping[str, str] | None = None) -> int | None:
        """Return the replicas that a durable append needs, or None if that is not set.

        No other variable is read: a worker's process may have others that are not for it.

        Raises:
            SettingsError: the value is not a whole number from 0.
        """
        name = f"{PREFIX}DURABLE_REPLICAS"
        value = (os.environ if environ is None else environ).get(name, "")
        return cls.from_environ({name: value}).durable_replicas

    def require_redis_url(self) -> str:
        """Return the Redis URL, or raise SettingsError if it is not set."""
        return required_redis_url(self.redis_url)

    def require_database_url(self) -> str:
        """Return the PostgreSQL URL, or raise SettingsError if it is not set or not valid."""
        example = "postgresql://user@127.0.0.1/jobtrail"
        url = required(self.database_url, "database_url", example)
        return _checked_database_url("DATABASE_URL", url, example)

    def checked_read_url(self) -> str | None:
        """Return the URL of the replica, or None; raise SettingsError if it is not valid."""
        if self.database_read_url is None:
            return None
        example = "postgresql://user@replica/jobtrail"
        return _checked_database_url("DATABASE_READ_URL", self.database_read_url, example)


def _checked_database_url(name: str, url: str, example: str) -> str:
    if not _DATABASE_URL.fullmatch(url):
        # The driver's error would quote the text, which may contain the password.
        raise SettingsError(f"{PREFIX}{name} is of no known form: give it, e.g. {example}")
    if _BAD_ESCAPE.match(url):
        raise SettingsError(f"{PREFIX}{name}: in a user, password or option, write % as %25")
    return url


def _lines(error: ValidationError, found: Mapping[str, str]) -> list[str]:
    """Return one line for each invalid variable, with its value unless it is a secret."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        name = str(problem["loc"][0])
        shown = repr(found[name]) if Settings.model_fields[name].repr else "the value given"
        lines.append(f"{PREFIX}{name.upper()}: {shown} is not valid: {problem['msg'].lower()}")
    return lines
