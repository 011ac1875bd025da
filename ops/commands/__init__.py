"""The commands of `jobtrail`, one a module, or one group of commands a module.

A module defines options and arguments, calls the work (`ops.tasks`, `ops.doctor`) and prints the
result. `COMMANDS` lists all of them in the order of `--help` for `ops.cli`, which imports only the
one that is called. The modules share `shared_options`, and import none of each other: there are as
many modules as commands and groups, and each is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ops.command_line.lazy_group import CommandEntry

_BY_PANEL: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    "On this machine": {
        "up": ("up", "up", "Run everything on this machine: servers, migrations, consumers, API."),
        "env": (
            "env",
            "env",
            "Print the addresses of the running `jobtrail up` as export lines for a shell.",
        ),
        "token": ("token", "token", "Print a token for the API, to try it out."),
        "demo": (
            "demo",
            "demo",
            "Run the demo's jobs, against the servers of `jobtrail up --demo`.",
        ),
    },
    "Jobs and events": {
        "append": (
            "append",
            "append",
            "Append events from a file or from standard input, one JSON object per line.",
        ),
        "status": ("status", "status", "Read one job's projected status."),
        "tail": ("tail", "tail", "Watch a tenant's events until Ctrl-C."),
        "video": ("video", "video", "The reference video worker."),
        "roster": ("roster", "roster", "The reference import worker."),
    },
    "Deployment": {
        "migrate": ("migrate", "migrate", "Apply the migrations that the database lacks."),
        "consume": (
            "consume",
            "consume_group",
            "Run consumers of a group until SIGTERM or Ctrl-C.",
        ),
        "api": ("api", "api", "Serve the read API until SIGTERM or Ctrl-C."),
        "size": (
            "size",
            "size",
            "Compute what a load needs from measured costs, and which server's limit comes first.",
        ),
    },
    "Operators": {
        "doctor": (
            "doctor",
            "doctor",
            "Check a deployment, and print what to do about each problem.",
        ),
        "lag": (
            "lag",
            "lag",
            "Show how far each group is behind: the tenants that are, and a summary.",
        ),
        "trim": (
            "retention",
            "trim",
            "Trim streams now, as far as is safe, and show what holds the rest back.",
        ),
        "groups": ("retention", "groups", "Registered consumer groups."),
        "dead": ("dead", "dead", "Entries that could not be applied."),
        "replay": ("replay", "replay", "Fold history and streams again into a projection."),
        "verify": ("verify", "verify", "Fold everything again and compare with what is served."),
        "old-tables": (
            "old_tables",
            "old_tables",
            "Indexes of the tables that were there before, in JOBTRAIL_DATABASE_URL.",
        ),
    },
}
"""The module, the attribute and the text of each command, by the title above it."""

_HIDDEN = {"demo"}

COMMANDS: Mapping[str, CommandEntry] = MappingProxyType(
    {
        name: CommandEntry(f"ops.commands.{module}", attribute, text, panel, name in _HIDDEN)
        for panel, commands in _BY_PANEL.items()
        for name, (module, attribute, text) in commands.items()
    }
)
