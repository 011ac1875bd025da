"""Projections made again from all events, and verified against them.

Events come from the history and from what the streams still hold. The room uses the writers of both
projections; no writer and no reader imports it.
"""
