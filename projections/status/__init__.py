"""The projection `status`: two documents a job, and each tenant's feed, in Redis.

Batches of decoded events come from a consumer or a replay. The room must not import `rows`.
"""
