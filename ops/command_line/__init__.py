"""What every command shares before it runs: lazy imports, plain words, standard streams.

The room imports nothing else of `ops`.
"""
