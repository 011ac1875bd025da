"""The progress endpoints: one job's progress, with or without waiting, and many jobs at once.

They read Redis only, through `projections.reading.documents`, and return what `api.answers`
rendered, so they work while PostgreSQL is unavailable. This folder must not import `api.jobs`.
"""
