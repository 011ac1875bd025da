"""Reset: what differs from the events is replaced, also a wrong state that looks newer.

Readers see each job at any time. Documents are replaced job by job with compare-and-set
(`documents`); rows are prepared in a temporary table, and readers see all changes at once (`rows`).
What is replaced is kept (`projections.replay.replaced_states`). `projections.registry` uses the
room.
"""
