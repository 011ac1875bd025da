"""Models of the answers for monitoring. Used by `api.spec.operations.all_operations`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.spec.models.base import ABSENT, Answer


class Alive(Answer):
    """The process is alive."""

    status: Literal["alive"]


class Ready(Answer):
    """The API can serve requests for progress, because Redis answers.

    The database may be unavailable, and Redis may refuse writes, as the fields show.
    """

    status: Literal["ready"]
    database: Annotated[
        Literal["ok", "away", "none"],
        Field(
            description="The state of PostgreSQL, which only requests for stored jobs need: `away`"
            " if it is unavailable (then those requests return 503), `none` if no database is"
            " configured (then too)."
        ),
    ]
    replica: Annotated[
        Literal["ok", "away"],
        Field(
            description="Present if a replica is configured. While it is `away`, the primary"
            " serves its requests."
        ),
    ] = ABSENT
    redis: Annotated[
        Literal["refuses writes"],
        Field(
            description="Present only while Redis refuses writes because it lacks memory, disk"
            " space or replicas. Requests are answered, but the states of jobs do not change."
        ),
    ] = ABSENT
