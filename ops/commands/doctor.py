"""The command `jobtrail doctor`. Used by `ops.cli`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ops.addresses import command_settings
from ops.commands.shared_options import AsJson
from ops.doctor.connection_budget import budgets, read_limits
from ops.doctor.examination import examine
from ops.doctor.finding import Finding
from ops.doctor.legacy import examine_legacy
from ops.errors import CommandError
from ops.printing import print_json, print_line, print_table
from ops.text.plurals import counted
from ops.text.tables import Span
from streams.settings import Settings

_OK, _WARNS, _WRONG = Span("ok", "green"), Span("??", "yellow"), Span("!!", "red")


def doctor(
    *,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Look only for old keys that name no tenant.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a deployment, and print what to do about each problem."""
    settings = command_settings()
    findings = [examine_legacy(settings)] if legacy else examine(settings)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        _print_findings(findings)
        if not legacy:
            _print_server_sizes(settings)
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        need = "needs" if wrong == 1 else "need"
        raise CommandError(f"{wrong} of {counted(len(findings), 'check')} {need} attention")


def _print_findings(findings: Sequence[Finding]) -> None:
    rows = [
        (
            _WRONG if not finding.ok else _WARNS if finding.warns else _OK,
            finding.check,
            finding.found,
            Span(finding.advice if finding.warns or not finding.ok else "", "yellow"),
        )
        for finding in findings
    ]
    print_table(["", "check", "found"], rows, note="what to do")


def _print_server_sizes(settings: Settings) -> None:
    """Print how the limits fit into servers of the usual sizes."""
    rows = [
        (found.size, found.available, found.needed, f"{found.share:.0%}", found.verdict)
        for found in budgets(read_limits(settings.limits))
    ]
    print_line("")
    print_table(["max_connections", "for us", "limits come to", "share", "verdict"], rows)
