"""Workbooks for tests, by two libraries, and the archives that no library writes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import xlsxwriter  # type: ignore[import-untyped]

Rows = Iterable[Any]
"""Rows of cells; sequences of anything that the libraries take."""

KOREAN = "이름 학부모전화번호 학생전화번호 학교 학년 반 계열 성별 메모".split()


def phone(number: int) -> str:
    """Give a mobile number of its own."""
    return f"010{number:08d}"


def student(number: int) -> list[Any]:
    """Give a student's cells under KOREAN."""
    own = phone(50_000_000 + number)
    return [f"학생{number}", phone(number), own, "한빛고등학교", 2, "3", "이과", "여", f"m{number}"]


def with_openpyxl(path: Path, rows: Rows, *, sheet: str = "명부") -> Path:
    """Write rows from A1."""
    return edited(path, lambda book: _fill(book.active, rows, sheet))


def edited(path: Path, edit: Callable[[Any], None]) -> Path:
    """Write a workbook that a function edited, by openpyxl."""
    book = openpyxl.Workbook()
    edit(book)
    book.save(path)
    return path


def _fill(sheet: Any, rows: Rows, title: str) -> None:
    sheet.title = title
    for row in rows:
        sheet.append(row)


def with_xlsxwriter(path: Path, rows: Rows, *, in_strings: bool = True, top: int = 0) -> Path:
    """Write rows from a row of the sheet; without `in_strings` texts stand in their cells."""
    with xlsxwriter.Workbook(path, {"constant_memory": not in_strings}) as book:
        sheet = book.add_worksheet("명부")
        for number, row in enumerate(rows, start=top):
            sheet.write_row(number, 0, row)
    return path


def roster(path: Path, count: int, *, first: int = 0) -> Path:
    """Write a roster of so many students, each of them good."""
    rows = (student(number) for number in range(first, first + count))
    return with_xlsxwriter(path, [KOREAN, *rows])


def repacked(source: Path, target: Path, changes: Mapping[str, bytes | None]) -> Path:
    """Copy a workbook with some of its parts changed, added or (None) left out."""
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        kept = {name: old.read(name) for name in old.namelist()}
        for name, content in {**kept, **changes}.items():
            if content is not None:
                new.writestr(name, content)
    return target


def part(source: Path, name: str) -> bytes:
    """Give a part's content."""
    with zipfile.ZipFile(source) as package:
        return package.read(name)
