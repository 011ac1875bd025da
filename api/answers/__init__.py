"""Answers about the progress of a job, computed from its documents and rendered to bytes once.

Documents of a projection come in; bytes with their headers go out, to `api.progress`, `api.live`
and `api.operators`. This folder reads no store and must not import endpoints.
"""
