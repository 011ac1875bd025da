"""The command `jobtrail` and what only operators need.

A command runs downwards through these parts:

    cli            the command line: finds the command, prints errors as one line
    commands/      options, arguments and output of each command
    tasks/         the work that a command does, without options and output
    doctor/        the checks of `jobtrail doctor`
    operator_view  what the console reads and does (passed to the API by `jobtrail api`)
    text/          layout of tables, numbers with nouns, times
    devstack/      embedded Redis and PostgreSQL
    processes/     child processes

`printing` is the only module that writes to standard output and error. No other package imports
`ops`.
"""
