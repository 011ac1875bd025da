"""Exceptions that make trouble for whoever describes them."""

from __future__ import annotations


class Unprintable(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("this exception has no text")

    __repr__ = __str__


LongName = type("Long" * 100, (Exception,), {})
"""An exception whose class name is longer than a code may be."""
