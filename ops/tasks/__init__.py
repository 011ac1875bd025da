"""The work of the commands, without options and without printing.

A task takes settings and values, returns a result or raises, and calls back where the command
should print something meanwhile. Tasks are called by `ops.commands` and `ops.operator_view`, and
never import commands, the command line or `ops.printing`.
"""
