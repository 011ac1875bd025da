"""URLs of PostgreSQL that no wait makes right."""

from __future__ import annotations

from pathlib import Path

import certifi
import pytest

from sql.url_check import wrong_option

START = "postgresql://me:secret@db.invalid"


@pytest.mark.parametrize(
    "url",
    [
        f"{START}/x",
        f"{START}:5432/x?sslmode=require",
        f"{START}/x?sslmode=verify-full&sslrootcert=system",
        f"{START}/x?sslmode=verify-ca&sslrootcert={certifi.where()}",
        f"{START}/x?sslmode=disable&sslrootcert=/nowhere",
        f"{START}/x?connect_timeout=3&keepalives=0&tcp_user_timeout=1000",
        "postgresql://me@a:1,b:2/x?target_session_attrs=read-write",
        "postgresql://me@[::1]:5432/x",
        "postgresql:///x?host=/run/postgresql&sslmode=verify-full",
        "host=/run/postgresql dbname=x",
        "host=a hostaddr=127.0.0.1 options='-c search_path=x'",
    ],
)
def test_url_that_may_be_right(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "zzz")  # the shell's, which sessions never read
    assert wrong_option(url) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"{START}/x?ssl=on", "its option ssl is unknown"),
        (f"{START}/x?sslmode=", 'invalid sslmode value: ""'),
        (f"{START}/x?sslmode=VERIFY", 'invalid sslmode value: "VERIFY"'),
        (f"{START}:0/x", 'invalid port number: "0"'),
        (f"{START}:65536/x", 'invalid port number: "65536"'),
        ("host=x port=many", 'invalid integer value "many" for connection option "port"'),
        ("host=a,b port=1,2,3", "could not match 3 port numbers to 2 hosts"),
        ("host=a,b hostaddr=127.0.0.1", "could not match 2 host names to 1 hostaddr values"),
        (f"{START}/x?hostaddr=999.1.1.1", 'invalid hostaddr value: "999.1.1.1"'),
        (f"{START}/x?target_session_attrs=best", 'invalid target_session_attrs value: "best"'),
        (f"{START}/x?channel_binding=yes", 'invalid channel_binding value: "yes"'),
        (f"{START}/x?connect_timeout=soon", 'invalid connect_timeout value: "soon"'),
        (f"{START}/x?keepalives_idle=1.5", 'invalid keepalives_idle value: "1.5"'),
        (f"{START}/x?sslmode=require&sslrootcert=system", 'weak sslmode "require"'),
        (f"{START}/x?sslrootcert=/nowhere.crt", "its option sslrootcert: /nowhere.crt: No such"),
        (f"{START}/x?sslrootcert=/etc", "its option sslrootcert: /etc: Is a directory"),
        (f"{START}/x?sslrootcert={__file__}", "has no certificate that can be read"),
        (f"{START}/x?sslcert=/nowhere.crt", "its option sslcert: /nowhere.crt: No such"),
        (f"{START}/x?sslkey=/nowhere.key", "its option sslkey: /nowhere.key: No such"),
        (f"{START}/x?sslmode=verify-full", "sslmode=verify-full needs sslrootcert=FILE"),
        (f"{START}/x?service=nowhere", 'definition of service "nowhere" not found'),
    ],
)
def test_url_that_no_wait_makes_right(
    url: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    problem = wrong_option(url)
    assert problem is not None
    assert said in problem
    assert "secret" not in problem
    assert "\n" not in problem
