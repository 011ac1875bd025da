"""The command `jobtrail env`. Used by `ops.cli`."""

from __future__ import annotations

from ops.addresses import running
from ops.commands.shared_options import AsJson
from ops.errors import CommandError
from ops.printing import print_json, print_lines
from streams.settings import Settings


def env(*, as_json: AsJson = False) -> None:
    """Print the addresses of the running `jobtrail up` as export lines for a shell."""
    data_dir = Settings.from_environ().data_dir
    found = running(data_dir)
    if found is None:
        raise CommandError(f"no jobtrail up runs on {data_dir}: start it, or set JOBTRAIL_DATA_DIR")
    if as_json:
        print_json(found._asdict())
    else:
        print_lines(found.exports())
