"""The initial password of the accounts, hashed once per import for Django's `check_password`.

Used by `workers.roster.importer`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import string

from workers.roster.errors import RosterError

SHORTEST = 4
LONGEST = 128
ITERATIONS = 1_000_000
"""The work factor of PBKDF2 in Django 5.2, which replaces hashes with fewer at the first login."""

_SALT_LETTERS = string.ascii_letters + string.digits
_SALT_LENGTH = 22


def initial_password(given: str | None) -> str:
    """Return the password without spaces at its ends.

    Raises:
        RosterError: it is missing, or does not have 4 to 128 characters; the message does not
            contain it.
    """
    password = (given or "").strip()
    if not SHORTEST <= len(password) <= LONGEST:
        raise RosterError(
            f"the initial password must have {SHORTEST} to {LONGEST} characters",
            code="initial_password",
        )
    return password


def hash_password(password: str, *, iterations: int = ITERATIONS) -> str:
    """Return `pbkdf2_sha256$iterations$salt$hash`; this takes about half a second."""
    salt = "".join(secrets.choice(_SALT_LETTERS) for _ in range(_SALT_LENGTH))
    word = password.encode("utf-8", "surrogateescape")  # bytes that are not UTF-8 are kept
    digest = hashlib.pbkdf2_hmac("sha256", word, salt.encode(), iterations)
    return f"pbkdf2_sha256${iterations}${salt}${base64.b64encode(digest).decode()}"
