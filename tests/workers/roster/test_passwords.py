"""The hash of the initial password, checked with Django."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import django
import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.hashers import (
    PBKDF2PasswordHasher,
    check_password,
    identify_hasher,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.workbooks import roster
from tests.workers.roster.conftest import Importing
from workers.roster.errors import RosterError
from workers.roster.passwords import ITERATIONS, hash_password, initial_password

if not settings.configured:
    settings.configure(PASSWORD_HASHERS=["django.contrib.auth.hashers.PBKDF2PasswordHasher"])
    django.setup()

passwords = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=4, max_size=128)


@given(passwords)
def test_hash__django_accepts_it_and_no_other_password(password: str) -> None:
    # Not `check_password`: it takes as long as a hash of Django's own work factor.
    hashed, hasher = hash_password(password, iterations=2), PBKDF2PasswordHasher()
    assert hasher.verify(password, hashed)
    assert not hasher.verify(password + "x", hashed)


def test_hash__is_of_djangos_own_work_factor() -> None:
    """Django does not replace the hash at the first login."""
    hashed = hash_password("first-1234")
    assert identify_hasher(hashed).algorithm == "pbkdf2_sha256"
    assert int(hashed.split("$")[1]) == ITERATIONS
    assert not identify_hasher(hashed).must_update(hashed)


def test_hash__twice__has_another_salt() -> None:
    assert hash_password("first-1234", iterations=1) != hash_password("first-1234", iterations=1)


@pytest.mark.parametrize("password", [None, "", "   ", "abc", " abc ", "x" * 129])
def test_hash__too_short_or_long__refused(password: str | None) -> None:
    with pytest.raises(RosterError, match="4 to 128 characters"):
        initial_password(password)


def test_import__all_accounts_open_with_the_initial_password(
    importing: Importing, database: psycopg.Connection[tuple[str, bool]], tmp_path: Path
) -> None:
    importing(roster(tmp_path / "a.xlsx", 250), password=" first-1234 ")

    query = "SELECT DISTINCT password, must_change_password FROM roster.users"
    [(hashed, must_change)] = database.execute(query).fetchall()
    assert check_password("first-1234", hashed)
    assert not check_password("first-1235", hashed)
    assert must_change


def test_worker__needs_no_django() -> None:
    code = (
        "import sys; sys.modules['django'] = None;"
        "import workers.roster.importer, ops.commands.roster;"
        "from workers.roster.passwords import hash_password; hash_password('first', iterations=1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
