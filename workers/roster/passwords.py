"""The initial password, hashed once an import in the form that Django's `check_password` reads."""

from __future__ import annotations

import base64
import hashlib
import secrets
import string

from workers.roster.errors import RosterError

SHORTEST = 4
LONGEST = 128
ITERATIONS = 1_000_000
"""PBKDF2's work factor, Django 5.2's own: a hash of fewer would be made anew at the first login."""

_SALT_LETTERS = string.ascii_letters + string.digits
_SALT_LENGTH = 22


def initial_password(given: str | None) -> str:
    """Give the password as it counts, its outer spaces left out.

    Raises:
        RosterError: it is missing, or not of 4 to 128 characters; the line does not repeat it.
    """
    password = (given or "").strip()
    if not SHORTEST <= len(password) <= LONGEST:
        raise RosterError(
            f"the initial password must have {SHORTEST} to {LONGEST} characters",
            code="initial_password",
        )
    return password


def hash_password(password: str, *, iterations: int = ITERATIONS) -> str:
    """Give `pbkdf2_sha256$iterations$salt$hash`; takes a good part of a second."""
    salt = "".join(secrets.choice(_SALT_LETTERS) for _ in range(_SALT_LENGTH))
    word = password.encode("utf-8", "surrogateescape")  # what no UTF-8 says stays as it came
    digest = hashlib.pbkdf2_hmac("sha256", word, salt.encode(), iterations)
    return f"pbkdf2_sha256${iterations}${salt}${base64.b64encode(digest).decode()}"
