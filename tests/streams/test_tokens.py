"""Tokens that backends make are taken by the API, for what they name only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from api.access.auth import authenticator
from api.http.problems import BadCredentials
from streams.keys import InvalidTenant
from streams.settings import Settings
from streams.tokens import make_token

SECRET = "0123456789abcdef0123456789abcdef"


def caller(token: str, secret: str = SECRET) -> Any:
    access = authenticator(Settings(auth="jwt", jwt_secret=secret))
    return access.identify(f"Bearer {token}", None, {})


def test_token_of_a_tenant_reads_all_its_jobs() -> None:
    found = caller(make_token(SECRET, tenant=42, subject="ada"))
    assert (found.tenant, found.allowed_ids, found.scopes, found.identity) == (
        "42",
        None,
        set(),
        "ada",
    )


def test_token_with_ids_reads_these_only() -> None:
    films = {"films": ["f1"]}
    found = caller(make_token(SECRET, tenant="42", jobs=["a1", 7], other_ids=films, scope="ops"))
    assert found.may_read("job", "7")
    assert not found.may_read("job", "a2")
    assert not found.may_read("video", "7")
    assert found.scopes == {"ops"}
    assert not caller(make_token(SECRET, tenant="42", videos=[])).may_read("video", "7")


def test_token_is_valid_for_its_ttl() -> None:
    short, long = (
        caller(make_token(SECRET, tenant="42", ttl=ttl)).expires for ttl in (60, timedelta(hours=1))
    )
    assert long - short == pytest.approx(3_540, abs=2)


def test_token_of_another_secret_is_refused() -> None:
    with pytest.raises(BadCredentials):
        caller(make_token(SECRET, tenant="42"), secret=SECRET[::-1])


@pytest.mark.parametrize(
    ("secret", "options"),
    [
        ("short", {}),
        (SECRET, {"ttl": 0}),
        (SECRET, {"ttl": float("nan")}),
        (SECRET, {"jobs": ["a/b"]}),
    ],
)
def test_what_the_api_would_refuse_is_an_error(secret: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"secret|ttl|jobs") as error:
        make_token(secret, tenant="42", **options)
    assert secret not in str(error.value)


def test_no_tenant_of_that_form() -> None:
    with pytest.raises(InvalidTenant):
        make_token(SECRET, tenant="a/b")
