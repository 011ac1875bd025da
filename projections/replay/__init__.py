"""Replay, reset and verification of the two projections that the project has.

    events -> repair                             adds what is missing (`repair`)
    events -> comparison -> reset                replaces what differs, and keeps what it replaces
    events -> comparison -> differences          `verify`
                    ^
    served (documents and rows, read as facts)

`projections.registry` and `ops.tasks.replay` use this room. It uses the writers of both
projections; no writer and no reader may import it.
"""
