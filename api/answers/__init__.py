"""Answers about a job's progress: made from its documents, and rendered to bytes once.

Documents come in, bytes with their headers go out. The room reads no store and imports no
endpoint.
"""
