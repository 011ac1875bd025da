"""Integrations of task queues: their signals become events, without a line in the tasks.

Each module imports its framework only when it is used. Nothing else of `streams` imports this
room.
"""
