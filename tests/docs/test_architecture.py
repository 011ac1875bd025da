"""The page on the architecture names every room of the code, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.test_words import PRODUCT

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
_PATH = re.compile(rf"`((?:{'|'.join(PRODUCT)}|tests|deploy|benchmarks)/[\w/.]*)`")


def test_page_names_every_room() -> None:
    rooms = {
        f"{init.parent.relative_to(ROOT)}/"
        for package in PRODUCT
        for init in (ROOT / package).glob("*/__init__.py")
    }
    assert (
        rooms - set(_PATH.findall(PAGE.read_text())) - {"workers/roster/", "workers/video/"}
        == set()
    )


def test_every_path_on_the_page_exists() -> None:
    paths = set(_PATH.findall(PAGE.read_text()))
    assert {path for path in paths if not (ROOT / path).exists()} == set()
