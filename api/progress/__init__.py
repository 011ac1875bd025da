"""The progress endpoints: one job's progress, long polls, and many jobs at once.

They read Redis alone, and answer what `api.answers` rendered. The room must not import the
durable reads in `api.jobs`.
"""
