"""Making tokens for the read API, for `jobtrail token`. Used by `ops.commands.token`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from api.access.auth import OPS, OPS_READ
from api.access.token_keys import token_keys
from ops.addresses import RunningUp, running_up
from ops.errors import CommandError, WrongArgument
from streams.keys import JOB_ID, check_tenant
from streams.settings import PREFIX, Settings
from streams.tokens import make_token

MAX_SUBJECT = 200
"""The characters of a subject that the audit log records."""

_TTL = re.compile(r"(\d{1,9})([smhd]?)\Z")
_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_NEW_SECRET = f"export {PREFIX}JWT_SECRET=$(openssl rand -base64 48)"


class Request(NamedTuple):
    """A token to make."""

    tenant: str
    ids: Mapping[str, Sequence[str]]
    """The ids that it is limited to, by the plural name of their kind; empty for no limit."""
    ttl: timedelta
    scope: str | None
    subject: str | None = None
    """The user of the token: the audit log records it, and the API counts requests by it."""


class Token(NamedTuple):
    """A token and what it permits."""

    request: Request
    expires: datetime
    text: str

    def facts(self) -> dict[str, Any]:
        """Return the token and its claims by name."""
        tenant, ids, _, scope, subject = self.request
        permitted = {"tenant": tenant, **ids, "scope": scope, "subject": subject}
        return {"token": self.text, **permitted, "expires_at": self.expires}

    def __str__(self) -> str:
        """Return the token itself."""
        return self.text


def request_of(
    tenant: str,
    ids: Mapping[str, str | None],
    ttl: str,
    scope: str | None,
    subject: str | None = None,
) -> Request:
    """Return the request that options describe; `ids` are texts with ids between commas.

    Raises:
        InvalidTenant: the tenant's name is not valid.
        WrongArgument: another option is not valid.
    """
    check_tenant(tenant)
    if scope not in (None, OPS, OPS_READ):
        raise WrongArgument(f"--scope: {scope!r} is no scope: take {OPS} or {OPS_READ}")
    lists = {name: _ids(name, text) for name, text in ids.items() if text is not None}
    return Request(tenant, lists, _duration(ttl), scope, _checked(subject))


def token_of(settings: Settings, request: Request) -> Token:
    """Make the token with the secret of the settings, or else of the running `up`.

    Raises:
        CommandError: there is no secret; the message has what to do.
        SettingsError: the secret is not valid.
    """
    secret = settings.jwt_secret or _secret_of_up(settings)
    token_keys(settings.model_copy(update={"jwt_secret": secret, "jwks": None}))
    expires = (datetime.now(UTC) + request.ttl).replace(microsecond=0)
    text = make_token(
        secret,
        tenant=request.tenant,
        other_ids=request.ids,
        ttl=request.ttl,
        scope=request.scope,
        subject=request.subject,
    )
    return Token(request, expires, text)


def ignoring_up(settings: Settings) -> RunningUp | None:
    """Return the running `up` if it takes no tokens, so that one that is made has no effect."""
    found = running_up(settings.data_dir)
    return found if found is not None and found.auth == "dev" else None


def _secret_of_up(settings: Settings) -> str:
    found = running_up(settings.data_dir)
    if found is not None and found.jwt_secret:
        return found.jwt_secret
    raise CommandError(_advice(found, settings))


def _advice(found: RunningUp | None, settings: Settings) -> str:
    if found is not None and found.auth == "dev":
        return (
            "the running jobtrail up takes no tokens (JOBTRAIL_AUTH=dev): send the tenant in the"
            f" header X-Tenant-ID; to use tokens, stop it, then: {_NEW_SECRET}; jobtrail up"
        )
    if found is not None or settings.jwks:
        return (
            f"the API has only public keys ({PREFIX}JWKS): sign tokens with your private key, or"
            f" set {PREFIX}JWT_SECRET for it too"
        )
    return f"{PREFIX}JWT_SECRET is not set: set the secret of the API; for a new one: {_NEW_SECRET}"


def _checked(subject: str | None) -> str | None:
    """Return a subject; raise WrongArgument if the audit log could not record it as it is."""
    if subject is not None and not (0 < len(subject) <= MAX_SUBJECT and subject.isprintable()):
        raise WrongArgument(
            f"--subject: {subject!r} is not valid: take 1 to {MAX_SUBJECT} printable characters"
        )
    return subject


def _ids(name: str, text: str) -> list[str]:
    ids = [each.strip() for each in text.split(",") if each.strip()]
    for each in ids:
        if not JOB_ID.match(each):
            raise WrongArgument(f"--{name}: {each!r} is not a valid id")
    return ids


def _duration(text: str) -> timedelta:
    found = _TTL.match(text.strip())
    try:
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta()
        # A date after the year 9999 cannot be printed.
        datetime.now(UTC) + duration
    except OverflowError:
        duration = timedelta()
    if duration <= timedelta():
        raise WrongArgument(f"--ttl: {text!r} is no duration: take 90s, 10m, 2h or 7d")
    return duration
