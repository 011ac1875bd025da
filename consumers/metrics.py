"""Every metric of a consumer, one literal each; `docs/metrics.md` lists them.

No tenant is a label, except in the two metrics that `JOBTRAIL_METRICS_TENANTS=on` fills. Figures of
all streams together are published by the consumer that is elected to sweep, and by no other: take
the maximum over processes, not the sum. Used by the modules of `consumers` that count something.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from consumers.collectors import EventHistogram, FleetingCounter, FleetingGauge

# Work of this consumer.

APPLIED = Counter(
    "jobtrail_events_applied_total", "Events whose effect was stored and acknowledged.", ["group"]
)
ACKNOWLEDGED = Counter(
    "jobtrail_entries_acknowledged_total",
    "Entries acknowledged: applied, or moved to the dead letters.",
    ["group"],
)
BATCH = Histogram(
    "jobtrail_batch_entries",
    "Entries in one batch.",
    ["group"],
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000),
)
APPLY_SECONDS = Histogram(
    "jobtrail_apply_seconds",
    "Seconds to store the effect of one batch.",
    ["group"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
DELAY_SECONDS = EventHistogram(
    "jobtrail_projection_delay_seconds",
    "Seconds from an entry's append (its entry id's time) to its effect being stored.",
    "group",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 600, 3600),
)
RUNNING = Gauge("jobtrail_consumer_running", "1 while the consumer runs.", ["group"])
LAST_TURN = Gauge(
    "jobtrail_consumer_last_turn_timestamp_seconds",
    "When the consumer last began a turn of its loop, or to wait for a server (Unix time).",
    ["group"],
)

# Errors that the consumer handled.

DEAD = Counter(
    "jobtrail_entries_dead_lettered_total",
    "Entries moved to the dead letters.",
    ["group", "reason"],
)
DEAD_DROPPED = Counter(
    "jobtrail_dead_letters_dropped_total",
    "Dead letters dropped because a tenant has too many bytes (`bytes`) or too old ones (`age`).",
    ["reason"],
)
CLAIMED = Counter(
    "jobtrail_entries_reclaimed_total",
    "Deliveries taken over from consumers that died.",
    ["group"],
)
REDELIVERED = Counter(
    "jobtrail_entries_redelivered_total",
    "Entries delivered once more: taken over, or read again after a lost reply.",
    ["group"],
)
DELETED = Counter(
    "jobtrail_entries_deleted_while_pending_total",
    "Entries trimmed before they were acknowledged: a loss that retention must never cause.",
    ["group"],
)
GROUPS_CREATED = Counter(
    "jobtrail_groups_created_total",
    "Consumer groups created on a stream: a new stream (`new`), or one that lost it (`lost`).",
    ["group", "reason"],
)
OUTAGES = Counter(
    "jobtrail_outages_total",
    "Times that a consumer had to wait for a server (`redis`, `postgres`, `other`).",
    ["group", "server"],
)
OUTAGE_SECONDS = Counter(
    "jobtrail_outage_wait_seconds_total",
    "Seconds that a consumer waited for a server before it tried again.",
    ["group", "server"],
)
REFUSALS = Counter(
    "jobtrail_tenant_refusals_total",
    "Times that Redis refused work (`reading`, `dead_lettering`) because of the value at a key of"
    " one tenant; the work is paused for that tenant.",
    ["group", "work"],
)
CHORES_POSTPONED = Counter(
    "jobtrail_chores_postponed_total",
    "Runs of chores (`retention`, `reaper` …) postponed because a server was away.",
    ["chore"],
)
STALLED = Counter("jobtrail_jobs_stalled_total", "Jobs ended because their worker was gone.")

RESTORED = Counter(
    "jobtrail_history_restored_total",
    "Entries stored again that a failover of PostgreSQL had lost.",
)

# Retention.

TRIMMED = Counter(
    "jobtrail_entries_trimmed_total",
    "Entries trimmed from a stream after every group settled them.",
)
PARTITIONS_DROPPED = Counter(
    "jobtrail_history_partitions_dropped_total",
    "Partitions (weeks) of the history dropped because of their age.",
)
HELD_BACK = Gauge(
    "jobtrail_streams_held_back",
    "Streams in which the group holds back entries that are old enough to trim.",
    ["group"],
)

# All streams together, published by the consumer that is elected to sweep.

SWEEPER = FleetingGauge("jobtrail_sweeper", "1 in the consumer that is elected to sweep.")
STREAMS = FleetingGauge(
    "jobtrail_streams", "Streams that the sweep knows, approximately the number of tenants."
)
STREAMS_BEHIND = FleetingGauge(
    "jobtrail_streams_behind", "Streams with an entry that the group has not settled.", ["group"]
)
WAITING = FleetingGauge(
    "jobtrail_entries_waiting", "Entries that were never delivered to the group.", ["group"]
)
PENDING = FleetingGauge(
    "jobtrail_entries_pending", "Entries delivered to the group and not acknowledged.", ["group"]
)
OLDEST_SECONDS = FleetingGauge(
    "jobtrail_oldest_unprocessed_age_seconds",
    "Age of the oldest entry that the group has not settled; 0 where all are.",
    ["group"],
)
DEAD_LETTERS = FleetingGauge("jobtrail_dead_letters", "Dead letters of all tenants.")
DEAD_BYTES = FleetingGauge(
    "jobtrail_dead_letter_bytes", "Memory that the dead letters of all tenants take in Redis."
)
SHED = FleetingCounter(
    "jobtrail_progress_shed_total",
    "Progress events that appenders dropped because a stream was full.",
)
TENANT_UNSETTLED = FleetingGauge(
    "jobtrail_tenant_entries_unsettled",
    "Entries waiting or pending, for the tenants furthest behind (JOBTRAIL_METRICS_TENANTS=on).",
    ["group", "tenant"],
)
TENANT_OLDEST_SECONDS = FleetingGauge(
    "jobtrail_tenant_oldest_unprocessed_age_seconds",
    "Age of the oldest unsettled entry, for the tenants furthest behind"
    " (JOBTRAIL_METRICS_TENANTS=on).",
    ["group", "tenant"],
)

REASONS = (
    "cannot_be_applied invalid_entry_id invalid_event invalid_tenant kills_consumer no_event_field"
    " not_json too_large unknown_type unsupported_version"
).split()
"""The reasons of dead letters."""


def initialize(group: str) -> None:
    """Export the counters of a consumer of this group with the value 0.

    Otherwise a rate in Prometheus would miss the first increment of each counter.
    """
    for counter in (APPLIED, ACKNOWLEDGED, CLAIMED, REDELIVERED, DELETED):
        counter.labels(group)
    for reason in REASONS:
        DEAD.labels(group, reason)
    for reason in ("new", "lost"):
        GROUPS_CREATED.labels(group, reason)
    for reason in ("bytes", "age"):
        DEAD_DROPPED.labels(reason)
    for work in ("reading", "dead_lettering"):
        REFUSALS.labels(group, work)
    for server in ("redis", "postgres", "other"):
        OUTAGES.labels(group, server)
        OUTAGE_SECONDS.labels(group, server)
