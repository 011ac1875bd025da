"""What `jobtrail doctor` prints: the findings, and what the limits make of other servers."""

from __future__ import annotations

from collections.abc import Sequence

from ops.doctor.checks import examine
from ops.doctor.connection_budget import budgets, read_limits
from ops.doctor.finding import Finding
from ops.doctor.legacy import examine_legacy
from ops.printing import print_json, print_table
from streams.settings import Settings


def report(settings: Settings, *, legacy: bool, as_json: bool) -> tuple[int, int]:
    """Examine, print, and give how many findings want attention, of how many.

    Raises:
        SettingsError, InvalidUrl, redis.RedisError: as the examinations do.
    """
    findings = [examine_legacy(settings)] if legacy else examine(settings)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        _print_findings(findings)
        if not legacy:
            _print_sizes(settings)
    return sum(not finding.ok for finding in findings), len(findings)


def _print_findings(findings: Sequence[Finding]) -> None:
    rows = [
        (
            "!!" if not finding.ok else "??" if finding.warns else "ok",
            finding.check,
            finding.found,
            finding.advice if finding.warns or not finding.ok else "",
        )
        for finding in findings
    ]
    print_table(["", "check", "found", "what to do"], rows)


def _print_sizes(settings: Settings) -> None:
    """Print what the limits would be on servers of the usual sizes."""
    rows = [
        (found.size, found.available, found.needed, f"{found.share:.0%}", found.verdict)
        for found in budgets(read_limits(settings.limits))
    ]
    print_table(["max_connections", "for us", "limits come to", "share", "verdict"], rows)
