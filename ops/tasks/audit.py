"""The record of what commands change, in the log of operators' actions in PostgreSQL.

The console refuses an action that it cannot record. A command does it all the same, and says on
standard error that it is not recorded: who may run it has access to the servers anyway, and may
need it when PostgreSQL is away. Used by `ops.commands`, `ops.tasks.group_registration` and
`ops.tasks.replay.recording`.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from consumers.round_trips import encodable
from ops.errors import CommandError
from streams.events import dump_json
from streams.runtime.safe_text import one_line
from streams.settings import Settings

if TYPE_CHECKING:
    from sql.sessions import Session

CONNECT_SECONDS = 2
ANSWER_SECONDS = 3.0
"""The time limits for the database; a command is not held up for longer by a silent one."""

Warn = Callable[[str], None]


class Recording:
    """An action that is recorded; the command sets what it has changed."""

    def __init__(self) -> None:
        self.changed = False
        self.details: Mapping[str, Any] = {}

    def done(self, *, changed: bool, **details: Any) -> None:
        """Set the details of the outcome, a JSON object, and whether anything was changed."""
        self.changed, self.details = changed, details


@contextmanager
def recorded(
    settings: Settings, action: str, tenant: str | None, target: Mapping[str, Any], warn: Warn
) -> Iterator[Recording]:
    """Record an action before the block that does it, and its outcome after the block.

    Without a configured database nothing is recorded. An interrupted action has no outcome.

    Args:
        settings: the settings of the command.
        action: the name of the action.
        tenant: the tenant that it is limited to; None for all.
        target: a JSON object that identifies what it is done to.
        warn: prints a warning.
    """
    recording = Recording()
    if settings.database_url is None:
        yield recording
        return
    log = _Log(settings.require_database_url(), warn)
    action_id = log.begin(action, _storable(tenant), target)

    def end(outcome: str, details: Mapping[str, Any]) -> None:
        if action_id is not None:
            tenants = [_storable(tenant)] if tenant is not None and recording.changed else []
            log.end(action_id, outcome, tenants, details)

    try:
        yield recording
    except CommandError as error:
        end("failed", {**recording.details, "error": str(error)})
        raise
    except Exception:
        end("failed", recording.details)
        raise
    end("done", recording.details)


class _Log:
    """The log in one database; errors become warnings."""

    def __init__(self, url: str, warn: Warn) -> None:
        # Not at the top: commands without a database start faster.
        import psycopg  # noqa: PLC0415

        from sql import queries  # noqa: PLC0415

        self._url, self._warn = url, warn
        self._error = psycopg.Error
        self._queries = queries("operator_actions")

    def begin(self, action: str, tenant: str | None, target: Mapping[str, Any]) -> int | None:
        """Record an action; return its id, or None if that is impossible."""
        values = {
            "request_id": uuid4().hex,
            "via": "command",
            "actor": user_name(),
            "actor_tenant": None,
            "address": socket.gethostname(),
            "action": action,
            "tenant": tenant,
            "target": dump_json(target).decode(),
        }
        try:
            with self._transaction() as session:
                row = session.execute(self._queries["add"], values).fetchone()
        except self._error as error:
            self._warn(f"warning: not recorded in the audit log: {one_line(error)}")
            return None
        return int(row[0]) if row else None

    def end(
        self, action_id: int, outcome: str, tenants: list[str | None], details: Mapping[str, Any]
    ) -> None:
        """Record an outcome."""
        text = dump_json(details).decode()
        values = {"id": action_id, "outcome": outcome, "tenants": tenants, "details": text}
        try:
            with self._transaction() as session:
                session.execute(self._queries["end"], values)
        except self._error as error:
            self._warn(f"warning: the outcome is not in the audit log: {one_line(error)}")

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        from sql.sessions import connect  # noqa: PLC0415 - as above

        with (
            connect(
                self._url,
                "jobtrail-audit",
                connect_seconds=CONNECT_SECONDS,
                answer_seconds=ANSWER_SECONDS,
            ) as session,
            session.transaction(),
        ):
            milliseconds = str(int(ANSWER_SECONDS * 1000))
            session.execute(self._queries["enter"], {"milliseconds": milliseconds})
            yield session


def user_name() -> str:
    """Return the name of the process's user; variables of the shell do not matter."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _storable(text: str | None) -> str | None:
    return None if text is None else encodable(text).replace("\0", "\\x00")
