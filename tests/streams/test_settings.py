from __future__ import annotations

from pathlib import Path

import pytest

from streams.settings import Settings, SettingsError

DEFAULTS = {
    "redis_url": None,
    "database_url": None,
    "data_dir": Path(".jobtrail"),
    "api_host": "127.0.0.1",
    "api_port": 8000,
    "auth": "jwt",
    "jwt_secret": None,
    "jwks": None,
    "status_ttl_seconds": 21_600,
    "ended_ttl_seconds": None,
    "result_cache_bytes": 10_000,
    "max_event_bytes": 1_048_576,
    "reclaim_idle_seconds": 30,
    "stalled_after_seconds": None,
    "stream_keep_seconds": 86_400,
    "history_keep_days": None,
    "legacy_keys": "off",
    "log_level": "info",
    "log_format": None,
}


def test_nothing_set_gives_the_contracts_defaults() -> None:
    settings = Settings.from_environ({})
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("JOBTRAIL_API_PORT", "http"),
        ("JOBTRAIL_API_PORT", "65536"),
        ("JOBTRAIL_API_PORT", "-1"),
        ("JOBTRAIL_AUTH", "none"),
        ("JOBTRAIL_STATUS_TTL_SECONDS", "0"),
        ("JOBTRAIL_STATUS_TTL_SECONDS", "six hours"),
        ("JOBTRAIL_ENDED_TTL_SECONDS", "0"),
        ("JOBTRAIL_RESULT_CACHE_BYTES", "-1"),
        ("JOBTRAIL_MAX_EVENT_BYTES", "1MB"),
        ("JOBTRAIL_RECLAIM_IDLE_SECONDS", "0"),
        ("JOBTRAIL_RECLAIM_IDLE_SECONDS", "inf"),
        ("JOBTRAIL_RECLAIM_IDLE_SECONDS", "nan"),
        ("JOBTRAIL_STALLED_AFTER_SECONDS", "on"),
        ("JOBTRAIL_STREAM_KEEP_SECONDS", "1 day"),
        ("JOBTRAIL_HISTORY_KEEP_DAYS", "0"),
        ("JOBTRAIL_LEGACY_KEYS", "maybe"),
        ("JOBTRAIL_LOG_LEVEL", "loud"),
        ("JOBTRAIL_LOG_FORMAT", "x\ny"),
        ("JOBTRAIL_METRICS_PORT", "x"),
    ],
)
def test_wrong_value_is_one_line_that_names_the_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ({variable: value})
    message = str(raised.value)
    assert message.startswith(f"{variable}: {value!r} is not valid")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, field in Settings.model_fields.items()
        if "str" in str(field.annotation) and "Path" not in str(field.annotation)
    ),
)
def test_value_that_is_not_utf8_is_named_and_not_shown(name: str) -> None:
    variable = f"JOBTRAIL_{name.upper()}"
    value = b"postgresql://u:hunter2@h\xff/x".decode(errors="surrogateescape")
    with pytest.raises(SettingsError, match=f"^{variable} is not UTF-8$"):
        Settings.from_environ({variable: value})


def test_names_of_files_may_have_any_bytes() -> None:
    name = b"/srv/\xff".decode(errors="surrogateescape")
    assert Settings.from_environ({"JOBTRAIL_DATA_DIR": name}).data_dir == Path(name)


def test_two_wrong_values_are_both_named() -> None:
    wrong = {"JOBTRAIL_API_PORT": "x", "JOBTRAIL_AUTH": "y"}
    with pytest.raises(SettingsError, match=r"JOBTRAIL_API_PORT.*; JOBTRAIL_AUTH"):
        Settings.from_environ(wrong)


def test_empty_value_counts_as_unset_and_space_around_one_is_ignored() -> None:
    settings = Settings.from_environ({"JOBTRAIL_API_PORT": " ", "JOBTRAIL_AUTH": " dev "})
    assert (settings.api_port, settings.auth) == (8000, "dev")


@pytest.mark.parametrize("default", ["none", "off", "None", "OFF"])
def test_documented_default_of_an_optional_number_may_be_given(default: str) -> None:
    names = ("ENDED_TTL_SECONDS", "STALLED_AFTER_SECONDS", "HISTORY_KEEP_DAYS")
    given = {f"JOBTRAIL_{name}": default for name in names}
    assert Settings.from_environ(given) == Settings()


def test_words_may_be_in_capitals() -> None:
    words = {
        name: field.default
        for name, field in Settings.model_fields.items()
        if "Literal" in str(field.annotation) and field.default is not None
    }
    given = {f"JOBTRAIL_{name.upper()}": word.upper() for name, word in words.items()}
    assert Settings.from_environ(given) == Settings()
    assert Settings.from_environ({"JOBTRAIL_LOG_FORMAT": "JSON"}).log_format == "json"


def test_foreign_variables_are_ignored() -> None:
    assert Settings.from_environ({"JOBTRAIL_NONSENSE": "1", "API_PORT": "9"}) == Settings()


SECRETS = {
    "JOBTRAIL_JWT_SECRET": "hunter-secret",
    "JOBTRAIL_JWKS": '{"keys":["hunter-keys"]}',
    "JOBTRAIL_REDIS_URL": "redis://:hunter-redis@localhost:6379/0",
    "JOBTRAIL_DATABASE_URL": "postgresql://user:hunter-database@localhost/jobtrail",
}


def test_secrets_are_in_no_repr() -> None:
    settings = Settings.from_environ(SECRETS)
    assert "hunter" not in repr(settings)
    assert "hunter" not in str(settings)


def test_secrets_are_in_no_message() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ(SECRETS | {"JOBTRAIL_API_PORT": "x"})
    assert "hunter" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_missing_server_names_its_variable() -> None:
    with pytest.raises(SettingsError, match="JOBTRAIL_REDIS_URL is not set"):
        Settings().require_redis_url()
    with pytest.raises(SettingsError, match="JOBTRAIL_DATABASE_URL is not set"):
        Settings().require_database_url()
    settings = Settings.from_environ(SECRETS)
    assert settings.require_redis_url() == SECRETS["JOBTRAIL_REDIS_URL"]
    assert settings.require_database_url() == SECRETS["JOBTRAIL_DATABASE_URL"]


@pytest.mark.parametrize("password", ["hunter%", "%hunter", "hunter%2", "hunter%g1", "hunter%00"])
def test_database_password_with_a_bare_percent__refused_without_showing_it(password: str) -> None:
    """The driver would quote the text that it cannot decode."""
    for url in (f"postgresql://me:{password}@h/x", f"postgres://me@h/x?password={password}"):
        with pytest.raises(SettingsError, match=r"DATABASE_URL.* write % as %25") as raised:
            Settings(database_url=url).require_database_url()
        assert "hunter" not in str(raised.value)


@pytest.mark.parametrize("url", ["postgresql://me:a%25%2Fb@h/x", "host=h password=50%"])
def test_database_password_with_a_percent_that_is_meant(url: str) -> None:
    assert Settings(database_url=url).require_database_url() == url
