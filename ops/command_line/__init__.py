"""The start of every command: lazy imports, unconverted arguments, standard streams.

Used by `ops.cli`, `ops.commands` and `jobtrail_command`. Nothing else of `ops` is imported here.
"""
