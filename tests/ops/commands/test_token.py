"""`jobtrail token`: whose secret signs a token, and what to do where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
import typer
from typer.testing import CliRunner

from api.access.auth import TokenAuthenticator
from api.access.token_keys import token_keys
from api.operators.actions.log import ACTOR_LENGTH, storable
from ops.addresses import Addresses, RunningUp, published
from ops.commands.token import token
from ops.errors import CommandError, WrongArgument
from streams.keys import InvalidTenant
from streams.settings import Settings, SettingsError

OURS, OF_UP = "our-own-secret-of-more-than-32-bytes", "the-secret-of-up-of-more-than-32-bytes"
ADDRESSES = Addresses("http://127.0.0.1:1", "redis://x", "postgresql://x", "http://x/console/")

app = typer.Typer()
app.command()(token)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("JOBTRAIL_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("JOBTRAIL_JWT_SECRET", raising=False)
    return tmp_path


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ("--tenant", "42", *words), catch_exceptions=False)


def claims(text: str, secret: str) -> Any:
    return jwt.decode(text.strip(), secret, algorithms=["HS256"])


def test_token_is_signed_with_the_secret_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBTRAIL_JWT_SECRET", OURS)
    facts = json.loads(run("--jobs", "a, b", "--ttl", "2h", "--scope", "ops", "--json").stdout)
    found = claims(facts["token"], OURS)
    assert (found["tenant_id"], found["jobs"], found["scope"]) == ("42", ["a", "b"], "ops")
    assert "videos" not in found
    assert "sub" not in found
    assert found["exp"] - found["iat"] == 7_200


@pytest.mark.parametrize("subject", ["kim", "kim@example.com", "김 민수", "k" * ACTOR_LENGTH])
def test_subject_is_the_claim_that_the_audit_log_records(
    monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    monkeypatch.setenv("JOBTRAIL_JWT_SECRET", OURS)
    facts = json.loads(run("--scope", "ops", "--subject", subject, "--json").stdout)
    assert facts["subject"] == claims(facts["token"], OURS)["sub"] == subject
    authenticator = TokenAuthenticator(token_keys(Settings(jwt_secret=OURS)))
    caller = authenticator.identify(f"Bearer {facts['token']}", None, {})
    assert storable(caller.subject) == subject


def test_token_is_signed_with_the_secret_of_the_running_up(folder: Path) -> None:
    with published(folder) as publisher:
        publisher.publish(RunningUp(ADDRESSES, "jwt", OF_UP))
        assert claims(run().stdout, OF_UP)["tenant_id"] == "42"
    with pytest.raises(CommandError, match=r"JWT_SECRET is not set: .*openssl"):
        run()


def test_up_that_takes_no_tokens_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with published(folder) as publisher:
        publisher.publish(RunningUp(ADDRESSES, "dev", None))
        with pytest.raises(
            CommandError, match=r"X-Tenant-ID; .*openssl rand -base64 48\); jobtrail up"
        ):
            run()
        monkeypatch.setenv("JOBTRAIL_JWT_SECRET", OURS)
        assert "takes no tokens" in run().stderr


def test_api_with_public_keys_only_is_said(folder: Path) -> None:
    with published(folder) as publisher:
        publisher.publish(RunningUp(ADDRESSES, "jwt", None))
        with pytest.raises(CommandError, match="your private key"):
            run()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--ttl", "0"], WrongArgument),
        (["--subject", ""], WrongArgument),
        (["--subject", "k" * (ACTOR_LENGTH + 1)], WrongArgument),
        (["--subject", "a\0b"], WrongArgument),
        (["--subject", "a\udcffb"], WrongArgument),
        (["--ttl", "soon"], WrongArgument),
        (["--ttl", "999999999d"], WrongArgument),
        (["--jobs", "a/b"], WrongArgument),
        (["--scope", "admin"], WrongArgument),
        (["--tenant", "a/b"], InvalidTenant),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBTRAIL_JWT_SECRET", OURS)
    with pytest.raises(error) as raised:
        run(*words)
    assert "\n" not in str(raised.value)


def test_secret_that_can_be_guessed_is_refused_and_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOBTRAIL_JWT_SECRET", "hunter2")
    with pytest.raises(SettingsError, match="can be guessed") as raised:
        run()
    assert "hunter2" not in str(raised.value)
