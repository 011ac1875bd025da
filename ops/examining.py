"""What `jobtrail doctor` prints: the findings, and what the limits make of other servers."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import orjson
from rich.console import Console
from rich.table import Table

from ops.doctor import examine
from ops.findings import Finding
from ops.legacy import examine_legacy
from ops.limits import budgets, read_limits
from streams.settings import Settings


def report(settings: Settings, *, legacy: bool, as_json: bool) -> tuple[int, int]:
    """Examine, print, and give how many findings want attention, of how many.

    Raises:
        SettingsError, InvalidUrl, redis.RedisError: as the examinations do.
    """
    findings = [examine_legacy(settings)] if legacy else examine(settings)
    if as_json:
        shown = [finding._asdict() for finding in findings]
        sys.stdout.write(f"{orjson.dumps(shown).decode()}\n")
    else:
        console = Console()
        console.print(_findings(findings))
        if not legacy:
            console.print(_sizes(settings))
    return sum(not finding.ok for finding in findings), len(findings)


def _findings(findings: Sequence[Finding]) -> Table:
    table = Table("", "check", "found", "what to do")
    for finding in findings:
        mark = "!!" if not finding.ok else "??" if finding.warns else "ok"
        advice = finding.advice if finding.warns or not finding.ok else ""
        table.add_row(mark, finding.check, finding.found, advice)
    return table


def _sizes(settings: Settings) -> Table:
    """What the limits would be on servers of the usual sizes."""
    table = Table("max_connections", "for us", "limits come to", "share", "verdict")
    for found in budgets(read_limits(settings.limits)):
        numbers = (found.size, found.available, found.needed)
        table.add_row(*map(str, numbers), f"{found.share:.0%}", found.verdict)
    return table
