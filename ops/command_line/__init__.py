"""The start of every command: lazy imports, unconverted arguments, standard streams.

Used by `ops.cli`, `ops.__main__` and `ops.commands`. Nothing else of `ops` is imported here.
"""
