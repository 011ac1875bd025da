"""The work of `jobtrail replay` and `jobtrail verify`, without options and printing.

`Scope` describes what one command works on. `tenant_shares` divides its tenants, one process each
(`ops.tasks.parallel`); the processes send messages to the command, which adds them up:

    scope -> shares -> processes -> messages -> outcome (or differences, for verify)

`projections.replay` reads, folds, writes and compares; nothing of that is done here. The modules of
the room are imported by `ops.commands.replay` and `ops.commands.verify` alone.
"""
