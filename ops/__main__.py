"""`python -m ops` is the command `jobtrail`; the supervisor starts its children so."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; whoever interrupts it, even while it is being loaded, is obeyed."""
    try:
        # First of all: nothing may be opened while a standard stream is closed.
        from ops.cli import main as run  # noqa: PLC0415 - takes a second, in which Ctrl-C may come
        from ops.command_line import standard_streams  # noqa: F401, PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
