"""The projection `rows`: one row a job, and the history, in PostgreSQL.

Batches of decoded events come from a consumer or a replay. The room must not import `status`.
"""
