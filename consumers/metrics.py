"""Every metric of a consumer, one literal each; `docs/metrics.md` lists them.

No tenant is a label, save in the two that `JOBTRAIL_METRICS_TENANTS=on` fills. What is said of all
logs together is published by the elected sweeper alone: take the maximum over processes, not the
sum.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from consumers.collectors import EventHistogram, FleetingCounter, FleetingGauge

# Work that is done: each consumer counts its own.

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
    "When the consumer last went round its loop (Unix time).",
    ["group"],
)

# What went wrong, and was seen to.

DEAD = Counter(
    "jobtrail_entries_dead_lettered_total",
    "Entries moved to the dead letters.",
    ["group", "reason"],
)
DEAD_DROPPED = Counter(
    "jobtrail_dead_letters_dropped_total",
    "Dead letters dropped because a tenant has too many bytes (`bytes`) or too old ones (`age`).",
    ["why"],
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
GROUPS_MADE = Counter(
    "jobtrail_groups_made_total",
    "Consumer groups made on a log: of a new log (`new`), or again where it was lost (`lost`).",
    ["group", "why"],
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
SET_ASIDE = Counter(
    "jobtrail_tenants_set_aside_total",
    "Times that work (`reading`, `burying`) on one tenant was put off because of what stands at"
    " its keys.",
    ["group", "work"],
)
CHORES_PUT_OFF = Counter(
    "jobtrail_chores_put_off_total",
    "Chores (`retention`, `reaper`) put off because a server was away.",
    ["chore"],
)
STALLED = Counter(
    "jobtrail_jobs_stalled_total", "Jobs ended because nobody worked at them any more."
)

RESTORED = Counter(
    "jobtrail_history_restored_total",
    "Entries stored again that a failover of PostgreSQL had lost.",
)

# Retention.

TRIMMED = Counter(
    "jobtrail_entries_trimmed_total", "Entries that left a log because nobody needs them."
)
PARTITIONS_DROPPED = Counter(
    "jobtrail_history_partitions_dropped_total", "Weeks of the history that grew too old."
)
HELD_BACK = Gauge(
    "jobtrail_streams_held_back",
    "Logs in which the group keeps entries that are old enough to go.",
    ["group"],
)

# All logs together, as the elected sweeper sees them.

SWEEPER = FleetingGauge("jobtrail_sweeper", "1 in the consumer that was elected to sweep.")
LOGS = FleetingGauge("jobtrail_logs", "Logs that the sweep knows: tenants, about.")
LOGS_BEHIND = FleetingGauge(
    "jobtrail_logs_behind", "Logs with an entry that the group has not settled.", ["group"]
)
WAITING = FleetingGauge(
    "jobtrail_entries_waiting", "Entries that the group was never delivered.", ["group"]
)
PENDING = FleetingGauge(
    "jobtrail_entries_pending", "Entries delivered to the group, not acknowledged.", ["group"]
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
    "Events of progress that appenders dropped because a log was full.",
)
TENANT_UNSETTLED = FleetingGauge(
    "jobtrail_tenant_entries_unsettled",
    "Entries waiting or pending, of the tenants furthest behind (JOBTRAIL_METRICS_TENANTS=on).",
    ["group", "tenant"],
)
TENANT_OLDEST_SECONDS = FleetingGauge(
    "jobtrail_tenant_oldest_unprocessed_age_seconds",
    "Age of the oldest unsettled entry, of the tenants furthest behind"
    " (JOBTRAIL_METRICS_TENANTS=on).",
    ["group", "tenant"],
)

REASONS = (
    "cannot_be_applied invalid_entry_id invalid_event invalid_tenant kills_consumer no_event_field"
    " not_json too_large unknown_type unsupported_version"
).split()
"""Why entries go to the dead letters."""


def begin(group: str) -> None:
    """Show what a consumer of the group counts as 0: no rate sees a counter's first appearance."""
    for counter in (APPLIED, ACKNOWLEDGED, CLAIMED, REDELIVERED, DELETED):
        counter.labels(group)
    for reason in REASONS:
        DEAD.labels(group, reason)
    for why in ("new", "lost"):
        GROUPS_MADE.labels(group, why)
    for why in ("bytes", "age"):
        DEAD_DROPPED.labels(why)
    for work in ("reading", "burying"):
        SET_ASIDE.labels(group, work)
    for server in ("redis", "postgres", "other"):
        OUTAGES.labels(group, server)
        OUTAGE_SECONDS.labels(group, server)
