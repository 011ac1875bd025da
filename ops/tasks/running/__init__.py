"""Commands that run as child processes: several consumers (`consumer_processes`), `jobtrail up`.

`own_commands` builds their arguments and environment. Called by `ops.commands.consume` and
`ops.tasks.up`; nothing else of `ops.tasks` is imported here.
"""
