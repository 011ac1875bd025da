"""Work that consumers do between batches: sweeping, trimming, reaping, samples.

Chores read the state of groups through `consumers.delivery`. They must not import the loop that
runs them.
"""
