"""One environment for all tests, whatever shell, script or service started them.

Tests start many processes, which inherit all of this. A test of what the product does under an odd
environment sets that up for its own processes.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

KEPT = "JOBTRAIL_TEST_"
_PREFIXES = ("JOBTRAIL_", "PG", "REDIS", "CELERY_", "DJANGO_", "LC_", "XDG_")
_NAMES = frozenset(
    "LANG LANGUAGE TZ COLUMNS LINES NO_COLOR FORCE_COLOR CLICOLOR CLICOLOR_FORCE TTY_COMPATIBLE "
    "PYTHONIOENCODING PYTHONUTF8 PYTHONWARNINGS PYTHONUNBUFFERED PYTHONOPTIMIZE PYTHONSAFEPATH "
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR".split()
)
_LONGEST_FOLDER = 40
"""Characters; the path of a Unix socket below it has at most 107 in all."""


def make_usual() -> None:
    """Set the usual signals, variables and folders for this process and its children."""
    _reset_signals()
    _reset_variables()
    _reset_folders()
    os.umask(0o022)


def _reset_signals() -> None:
    """A script ignores SIGINT for what it runs in the background, `nohup` SIGHUP; both go down."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    kept = {signal.SIGPIPE, signal.SIGXFSZ}  # Python itself ignores these
    for number in signal.valid_signals() - kept:
        if signal.getsignal(number) is signal.SIG_IGN:
            with suppress(OSError):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _reset_variables() -> None:
    for name in list(os.environ):
        ours = name.startswith(_PREFIXES) or name.upper() in _NAMES
        if ours and not name.startswith(KEPT):
            del os.environ[name]
    os.environ |= {"LC_ALL": "C.UTF-8", "TERM": "dumb"}


def _reset_folders() -> None:
    folder = tempfile.gettempdir()  # passes over a TMPDIR that cannot be used
    # Redis reads no file whose path has a space from an unquoted line of its configuration.
    if len(folder) > _LONGEST_FOLDER or not re.fullmatch(r"[\w/.-]+", folder, re.ASCII):
        folder = "/tmp"
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    home = Path(os.environ.get("HOME", ""))
    if not (home.is_absolute() and home.is_dir() and os.access(home, os.W_OK | os.X_OK)):
        os.environ["HOME"] = folder
