"""The commands of `jobtrail`: one a module, which imports what it needs.

A module parses words, calls what does the work and prints. `COMMANDS` lists all of them for
`ops/cli.py`, which imports none that is not called. They share the options in
`shared_options` and nothing else. There are as many modules as commands and groups of commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ops.command_line.lazy_group import Place

COMMANDS: Mapping[str, Place] = MappingProxyType(
    {
        "trim": Place(
            "ops.commands.retention",
            "trim",
            "Trim logs now, as far as is safe, and say what holds the rest back.",
        ),
        "replay": Place(
            "ops.commands.replay", "replay", "Fold history and streams again into a projection."
        ),
        "verify": Place(
            "ops.commands.verify",
            "verify",
            "Fold everything again and compare with what is served.",
        ),
        "up": Place(
            "ops.commands.up",
            "up",
            "Run everything on this machine: servers, migrations, consumers, API.",
        ),
        "env": Place(
            "ops.commands.env",
            "env",
            "Print the addresses of the running `jobtrail up` as export lines for a shell.",
        ),
        "demo": Place(
            "ops.commands.demo",
            "demo",
            "Run the demo's jobs once, against the servers of `jobtrail up --demo`.",
            hidden=True,
        ),
        "migrate": Place(
            "ops.commands.migrate", "migrate", "Apply the migrations that the database lacks."
        ),
        "consume": Place(
            "ops.commands.consume",
            "consume_group",
            "Run one consumer of a group until SIGTERM or Ctrl-C.",
        ),
        "api": Place("ops.commands.api", "api", "Serve the read API until SIGTERM or Ctrl-C."),
        "append": Place(
            "ops.commands.append",
            "append",
            "Append events from standard input, one JSON object a line.",
        ),
        "status": Place("ops.commands.status", "status", "Read one job's projected status."),
        "tail": Place("ops.commands.tail", "tail", "Watch a tenant's events until Ctrl-C."),
        "lag": Place("ops.commands.lag", "lag", "Show how far each group is behind, by tenant."),
        "doctor": Place(
            "ops.commands.doctor",
            "doctor",
            "Check a deployment, and print what to do about each problem.",
        ),
        "video": Place("ops.commands.video", "video", "The reference video worker."),
        "dead": Place("ops.commands.dead", "dead", "Entries that could not be applied."),
        "groups": Place("ops.commands.retention", "groups", "Registered consumer groups."),
        "old-tables": Place(
            "ops.commands.old_tables",
            "old_tables",
            "Indexes of the tables that were there before, in JOBTRAIL_DATABASE_URL.",
        ),
        "roster": Place("ops.commands.roster", "roster", "The reference import worker."),
    }
)
