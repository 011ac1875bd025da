"""Redis servers: their URLs, the check for a primary, and reading without the client library.

`streams/connection.py` makes clients of these parts. Of `streams`, only `runtime` is imported here.
"""
