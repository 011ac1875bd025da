"""States that resets replaced and kept: deleting them, and putting rows back.

Used by `ops.tasks.replay.recording`.
"""

from __future__ import annotations

from collections.abc import Callable

from ops.errors import CommandError
from ops.tasks.replay.outcomes import Dropped, PutBack
from ops.tasks.replay.scope import WAITING, Scope
from ops.tasks.replay.servers import one_line_errors, open_database
from projections.history.writer import has_events
from projections.replay.replaced_states import drop


def drop_replaced(scope: Scope) -> Dropped:
    """Delete what resets replaced, of the tenant of the scope or of all tenants.

    Raises:
        CommandError: the tenant has no history, or the database lacks migrations.
        psycopg.Error: PostgreSQL is unavailable or refuses the statement.
    """
    tenant = scope.tenant
    with one_line_errors(), open_database(scope.settings) as connection:
        dropped = drop(connection, scope.projection, tenant)
        if tenant is not None and not dropped and not has_events(connection, tenant):
            raise CommandError(f"no tenant {tenant!r}: the history has no event of it")
    return Dropped(scope.projection, dropped)


def restore_replaced(scope: Scope, notify: Callable[[str], None]) -> PutBack:
    """Put back the rows that the last reset replaced and that nobody has written since.

    `notify` is called with a line of text where other sessions hold the rows.

    Raises:
        CommandError: nothing is kept, the rows are in use, or the projection keeps documents.
        psycopg.Error: PostgreSQL is unavailable or refuses the statement.
    """
    restore = scope.registered().restore
    if restore is None:
        raise CommandError(
            f"only rows are put back: {scope.projection} is rebuilt from the events (jobtrail"
            f" replay {scope.projection} --reset); replaced documents are in"
            " the table replaced_states"
        )
    with one_line_errors(), open_database(scope.settings) as connection:
        restored = restore(connection, scope.tenant, lambda: notify(WAITING))
    if restored is None:
        raise CommandError("no replaced rows are kept")
    return PutBack(scope.projection, **restored._asdict())
