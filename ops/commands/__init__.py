"""The commands of `jobtrail`, one a module, or one group of commands a module.

A module defines options and arguments, calls the work (`ops.tasks`, `ops.doctor`) and prints the
result. `COMMANDS` lists all of them for `ops.cli`, which imports only the one that is called. The
modules share `shared_options`, and import none of each other: there are as many modules as commands
and groups, and each is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ops.command_line.lazy_group import CommandEntry

COMMANDS: Mapping[str, CommandEntry] = MappingProxyType(
    {
        "trim": CommandEntry(
            "ops.commands.retention",
            "trim",
            "Trim streams now, as far as is safe, and show what holds the rest back.",
        ),
        "replay": CommandEntry(
            "ops.commands.replay", "replay", "Fold history and streams again into a projection."
        ),
        "verify": CommandEntry(
            "ops.commands.verify",
            "verify",
            "Fold everything again and compare with what is served.",
        ),
        "up": CommandEntry(
            "ops.commands.up",
            "up",
            "Run everything on this machine: servers, migrations, consumers, API.",
        ),
        "env": CommandEntry(
            "ops.commands.env",
            "env",
            "Print the addresses of the running `jobtrail up` as export lines for a shell.",
        ),
        "demo": CommandEntry(
            "ops.commands.demo",
            "demo",
            "Run the demo's jobs once, against the servers of `jobtrail up --demo`.",
            hidden=True,
        ),
        "migrate": CommandEntry(
            "ops.commands.migrate", "migrate", "Apply the migrations that the database lacks."
        ),
        "consume": CommandEntry(
            "ops.commands.consume",
            "consume_group",
            "Run consumers of a group until SIGTERM or Ctrl-C.",
        ),
        "api": CommandEntry(
            "ops.commands.api", "api", "Serve the read API until SIGTERM or Ctrl-C."
        ),
        "append": CommandEntry(
            "ops.commands.append",
            "append",
            "Append events from standard input, one JSON object a line.",
        ),
        "status": CommandEntry("ops.commands.status", "status", "Read one job's projected status."),
        "tail": CommandEntry("ops.commands.tail", "tail", "Watch a tenant's events until Ctrl-C."),
        "token": CommandEntry(
            "ops.commands.token", "token", "Print a token for the API, to try it out."
        ),
        "lag": CommandEntry(
            "ops.commands.lag", "lag", "Show how far each group is behind, by tenant."
        ),
        "doctor": CommandEntry(
            "ops.commands.doctor",
            "doctor",
            "Check a deployment, and print what to do about each problem.",
        ),
        "video": CommandEntry("ops.commands.video", "video", "The reference video worker."),
        "dead": CommandEntry("ops.commands.dead", "dead", "Entries that could not be applied."),
        "groups": CommandEntry("ops.commands.retention", "groups", "Registered consumer groups."),
        "old-tables": CommandEntry(
            "ops.commands.old_tables",
            "old_tables",
            "Indexes of the tables that were there before, in JOBTRAIL_DATABASE_URL.",
        ),
        "roster": CommandEntry("ops.commands.roster", "roster", "The reference import worker."),
    }
)
