"""Integrations of task queues: they report tasks as jobs, without a change to the tasks.

Each module imports its framework when it is used. No other module of the package imports them.
"""
