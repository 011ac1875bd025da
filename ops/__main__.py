"""`python -m ops` is the command `jobtrail`; the supervisor starts its children so."""

from ops.cli import main

main()
