"""Every metric of a consumer, one literal each. No tenant is ever a label."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

APPLIED = Counter(
    "jobtrail_entries_applied", "Entries whose effect was stored and acknowledged.", ["group"]
)
DEAD = Counter("jobtrail_dead_letters", "Entries moved to the dead letters.", ["group", "reason"])
CLAIMED = Counter(
    "jobtrail_entries_claimed", "Deliveries taken over from consumers that died.", ["group"]
)
DELETED = Counter(
    "jobtrail_entries_deleted_while_pending",
    "Entries trimmed before they were acknowledged: a loss that retention must never cause.",
    ["group"],
)
OUTAGES = Counter("jobtrail_outages", "Times that a batch had to wait for a server.", ["group"])
STALLED = Counter("jobtrail_jobs_stalled", "Jobs ended because nobody worked at them any more.")
TRIMMED = Counter("jobtrail_entries_trimmed", "Entries that left a log because nobody needs them.")
HELD_BACK = Gauge(
    "jobtrail_streams_held_back",
    "Logs in which the group keeps entries that are old enough to go.",
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
DELAY_SECONDS = Histogram(
    "jobtrail_projection_delay_seconds",
    "Seconds from a batch's oldest entry's append to its effect being stored.",
    ["group"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 600, 3600),
)
