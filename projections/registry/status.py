"""Registration of the projection `status`: Redis documents of each job, and the tenants' feeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import redis

from projections.registry.definition import Checked, RegisteredProjection, Replay
from projections.replay.repair import StatusRepair, repair
from projections.replay.reset.documents import StatusReset, reset_documents
from projections.replay.reset.kept_documents import KeptDocuments
from projections.replay.served.documents import ServedDocuments
from projections.replay.served.facts import Difference
from projections.replay.step import ReplayStep
from projections.status.document_writes import DocumentWrites
from projections.status.writer import StatusCache
from streams.keys import JobKey
from streams.settings import Settings


def _options(settings: Settings) -> dict[str, Any]:
    """Return the settings that readers and writers of the documents take."""
    return {
        "ttl_seconds": settings.status_ttl_seconds,
        "ended_ttl_seconds": settings.ended_ttl_seconds,
        "result_cache_bytes": settings.result_cache_bytes,
    }


def _writer(client: redis.Redis, settings: Settings) -> StatusCache:
    return StatusCache(client, **_options(settings))


def _served(replay: Replay) -> ServedDocuments:
    return ServedDocuments(replay.client, **_options(replay.settings))


def _repair(replay: Replay, after: JobKey | None) -> Iterator[ReplayStep]:
    writer = StatusRepair(_writer(replay.client, replay.settings), _served(replay))
    return repair(replay.sources, writer, after)


def _reset(replay: Replay, after: JobKey | None) -> Iterator[ReplayStep]:
    with closing(KeptDocuments(replay.connect)) as kept:
        writes = DocumentWrites(**_options(replay.settings))
        writer = StatusReset(replay.client, kept, writes)
        yield from reset_documents(
            replay.sources, writer, replay.comparison(_served(replay)), after
        )
        yield ReplayStep(None, 0, 0, kept=kept.states)


def _verify(replay: Replay) -> Iterator[Difference | Checked]:
    return replay.verify_fold(_served(replay))


STATUS = RegisteredProjection(
    group="status",
    serves="status and progress of each job, and live events",
    writer=_writer,
    repair=_repair,
    reset=_reset,
    verify=_verify,
    parallel=True,
    parallel_reset=True,
)
