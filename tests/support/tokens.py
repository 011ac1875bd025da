"""Claims that tests put into tokens."""

from __future__ import annotations

FAR = 4_102_444_800
"""An `exp` after every test: the year 2100."""
