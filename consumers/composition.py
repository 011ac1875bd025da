"""The composition root: the only module that knows both consumer groups and projections.

`consume` runs one consumer process, and `build` makes a consumer for it. Used by
`ops.commands.consume`, the benchmarks and the tests.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import prometheus_client
import psycopg
import redis
import structlog

from consumers import metrics
from consumers.chores.activity import Counted, Tally
from consumers.chores.heartbeat import Heartbeat
from consumers.chores.job_figures import SILENT_AFTER_SECONDS, JobFigures
from consumers.chores.promotions import Promotions, Restorable
from consumers.chores.reaper import Reaper
from consumers.chores.retention.chore import Retention
from consumers.chores.samples import Samples
from consumers.chores.sweep.chore import Sweep
from consumers.dead_letters.limits import Limits
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.ready import ReadyQueue
from consumers.garbage_collector import tune_collector
from consumers.loop.read_ahead import BATCH
from consumers.loop.runner import Consumer
from consumers.loop.shutdown import stop_on_signals
from consumers.protocols import Chore, LooksAhead, Projection, WaitsLong
from consumers.tracing import traced
from projections.history.retention import drop_old
from projections.registry.definition import RegisteredProjection
from projections.registry.lookup import HISTORY_GROUP, find_projection
from projections.registry.rows import connector
from streams import logging_setup
from streams.cluster import Cluster
from streams.connection import connect
from streams.settings import Settings

_LOG = structlog.get_logger(__name__)

PATIENCE_SECONDS = 0.25
"""The time in seconds that a consumer waits for a node of a cluster that does not answer, before it
goes on with the tenants of the other nodes."""


def _drop_history(open_session: Callable[[], psycopg.Connection], days: int) -> None:
    """Drop the weeks of the history that are older than so many days, and count them."""
    metrics.PARTITIONS_DROPPED.inc(len(drop_old(open_session, days)))


def _chores(
    group: str, projection: Projection, settings: Settings, client: redis.Redis, consumer: str
) -> Iterator[Chore]:
    """Yield the chores of a group's consumers, in the order in which they run.

    Those that read the database (trimming, figures, ending stalled jobs) are done by consumers of
    the group that writes the history.
    """
    if isinstance(projection, Restorable):
        # Before trimming: it restores entries that a failover of Redis lost.
        yield Promotions(client, projection, group, max_event_bytes=settings.max_event_bytes)
    if group != HISTORY_GROUP:
        return
    open_session, days = connector(settings), settings.history_keep_days
    yield Retention(
        client,
        consumer,
        keep_seconds=settings.stream_keep_seconds,
        drop_history=None if days is None else partial(_drop_history, open_session, days),
    )
    silent_after = settings.stalled_after_seconds or SILENT_AFTER_SECONDS
    yield JobFigures(client, open_session, consumer, silent_after_seconds=silent_after)
    if settings.stalled_after_seconds is not None:
        yield Reaper(
            client, open_session, consumer, stalled_after_seconds=settings.stalled_after_seconds
        )


def build(
    group: str,
    settings: Settings,
    client: redis.Redis,
    consumer: str,
    *,
    chores: Sequence[Chore] = (),
    tally: Tally | None = None,
) -> Consumer:
    """Return a consumer of a group, with all that it uses; nothing is sent to a server yet.

    Args:
        group: the group of a registered projection, which has the same name.
        settings: the settings of the process.
        client: a client of the Redis with the streams.
        consumer: the consumer's name in its group.
        chores: chores beside those of the projection.
        tally: counts the entries that the consumer applies.

    Raises:
        KeyError, InvalidProjection: no valid projection of that group is registered.
        SettingsError: the projection needs a database and the settings have none.
    """
    idle = settings.reclaim_idle_seconds
    registered = _registered(group)
    made = registered.writer(client, settings)
    built = Consumer(
        group=ConsumerGroup(client, group, consumer),
        projection=_observed(made, group, tally),
        ready=ReadyQueue(client, group, lease_seconds=idle),
        dead_letters=_dead_letters(client, group, settings),
        sweep=_sweep(client, group, consumer, settings),
        chores=[*_chores(group, made, settings, client, consumer), *chores],
        batch_entries=registered.batch_entries or BATCH,
        reclaim_idle_seconds=idle,
        max_event_bytes=settings.max_event_bytes,
    )
    _use_waits(made, built)
    return built


def _use_waits(projection: Projection, consumer: Consumer) -> None:
    """Let the consumer work while the writer of its projection waits for its server."""
    if isinstance(projection, LooksAhead):
        projection.meanwhile = consumer.look_ahead
    if isinstance(projection, WaitsLong):
        projection.while_waiting = consumer.keep


def _registered(group: str) -> RegisteredProjection:
    projection = find_projection(group)
    if projection is None:
        raise KeyError(group)
    return projection


def _observed(projection: Projection, group: str, tally: Tally | None) -> Projection:
    """Return the projection with spans and, if there is a tally, with counting."""
    with_spans = traced(projection, group)
    return with_spans if tally is None else Counted(with_spans, tally)


def _dead_letters(client: redis.Redis, group: str, settings: Settings) -> DeadLetterWriter:
    limits, max_bytes = _dead_limits(settings), settings.max_event_bytes
    return DeadLetterWriter(client, group, limits=limits, max_event_bytes=max_bytes)


def _sweep(client: redis.Redis, group: str, consumer: str, settings: Settings) -> Sweep:
    return Sweep(
        client,
        group,
        consumer,
        reclaim_idle_seconds=settings.reclaim_idle_seconds,
        tenants_in_metrics=settings.metrics_tenants == "on",
    )


def _dead_limits(settings: Settings) -> Limits:
    return Limits(settings.dead_max_bytes, settings.dead_keep_days * 86_400)


def consumer_name() -> str:
    """Return a name for this process that no other consumer has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


def consume(group: str, settings: Settings) -> None:
    """Run a consumer until SIGTERM or SIGINT; then settle the batches in memory and return.

    Raises:
        KeyError, InvalidProjection: no valid projection of that group is registered.
        SettingsError: a server's URL is missing or not valid.
        OSError: the metrics port is taken.
        Exception: a chore or the server failed, and waiting does not help.
    """
    logging_setup.configure(settings)
    tune_collector()
    stop = stop_on_signals()
    client = _connected(settings)
    name, tally = consumer_name(), Tally()
    chores: list[Chore] = [
        Heartbeat(client, group, name, tally),
        Samples(client, name, dead_limits=_dead_limits(settings)),
    ]
    consumer = build(group, settings, client, name, chores=chores, tally=tally)
    _serve_metrics(settings)
    consumer.run(stop)


def _connected(settings: Settings) -> redis.Redis:
    """Return a client that waits only briefly for a node of a cluster."""
    client = connect(settings.require_redis_url())
    if isinstance(client, Cluster):
        client.set_patience(PATIENCE_SECONDS)
    return client


def _serve_metrics(settings: Settings) -> None:
    """Serve the metrics of this process, if a port is configured."""
    if settings.metrics_port is None:
        return
    server, _ = prometheus_client.start_http_server(settings.metrics_port, settings.metrics_host)
    _LOG.info("metrics_served", port=server.server_port)
