"""`python -m ops` is the command `jobtrail`; `jobtrail up` starts its processes by it."""

from __future__ import annotations

from jobtrail_command import main

if __name__ == "__main__":
    main()
