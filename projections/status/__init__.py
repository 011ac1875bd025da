"""The projection `status`: two documents of each job, and a feed of each tenant, in Redis.

    entries -> writer -> document_writes -> store -> status_cache.lua

Entries come from a consumer or a replay. This package must not import `rows` or `history`.
"""
