"""Numbers with nouns.

Used by `ops.commands`, `ops.doctor`, `ops.progress_lines` and `ops.tasks`.
"""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return the number and the noun, in the plural unless the number is 1."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def age(seconds: float) -> str:
    """Return a duration in its largest useful unit."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.0f} h" if hours < 100 else f"{hours / 24:.0f} days"
