"""What must be known of a Redis server: its URL, and whether it is a primary.

`connection` builds clients from it. Of `streams`, the room imports `runtime` alone.
"""
