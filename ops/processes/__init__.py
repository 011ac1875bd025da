"""Child processes: one child (`child`), several that are kept running (`supervisor`), descendants.

`ports` finds free ports. Used by `ops.devstack`, `ops.tasks.running.consumer_processes` and
`ops.tasks.up`. Nothing else of `ops` is imported here.
"""
