"""The printed result of an import: each failed row is listed, or counted as not listed."""

from __future__ import annotations

from typing import Any

import pytest

from ops.commands.roster import _print_result


def result(failed: int, omitted: int) -> dict[str, Any]:
    rows = [{"row": number, "name": "김", "error": "no phone"} for number in range(failed)]
    found: dict[str, Any] = {"created": 0, "restored": 0, "skipped": 0, "failed": rows}
    return found | {"total": failed + omitted} | ({"failed_omitted": omitted} if omitted else {})


@pytest.mark.parametrize(
    ("failed", "omitted", "expected"),
    [
        (20, 0, []),
        (25, 0, ["and 5 more: --json prints them"]),
        (10, 100, ["and 100 more: the result lists no more"]),
        (25, 100, ["and 5 more: --json prints them", "and 100 more: the result lists no more"]),
        (0, 100, ["and 100 more: the result lists no more"]),
    ],
)
def test_rows_that_are_not_listed_are_counted(
    failed: int, omitted: int, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _print_result(result(failed, omitted))
    printed = capsys.readouterr().out
    assert f"{failed + omitted} failed" in printed
    more = [line for line in printed.splitlines() if line.startswith("and ")]
    assert len(more) == len(expected)
    assert all(line.startswith(text) for line, text in zip(more, expected, strict=True))
