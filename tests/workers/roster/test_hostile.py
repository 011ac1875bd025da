"""Files that are not workbooks, or are harmful: one line, and a `failed` event with a code."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import orjson
import pytest
import redis
import xlsxwriter  # type: ignore[import-untyped]

from tests.support.rosters import Database, counts
from tests.support.workbooks import (
    KOREAN,
    edited,
    part,
    phone,
    repacked,
    student,
    with_openpyxl,
    with_xlsxwriter,
)
from tests.workers.roster.conftest import Importing
from workers.roster.errors import RosterError

SHEET = "xl/worksheets/sheet1.xml"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def good(path: Path) -> Path:
    return with_openpyxl(path.with_suffix(".source"), [KOREAN, student(1)])


def zip_bomb(path: Path) -> Path:
    """Three hundred megabytes of spaces in a sheet."""
    source = good(path)
    sheet = part(source, SHEET).replace(b"</sheetData>", b" " * 300_000_000 + b"</sheetData>")
    return repacked(source, path, {SHEET: sheet})


def many_small_bombs(path: Path) -> Path:
    return repacked(
        good(path), path, {f"xl/media/{n}.xml": b"<a/>" + b" " * 4_000_000 for n in range(250)}
    )


def directory_that_lies(path: Path) -> Path:
    """A part that is much larger than the directory states."""
    source = good(path)
    content = b"<a>" + b"x" * 50_000_000
    repacked(source, path, {"xl/media/a.xml": content})
    raw = path.read_bytes()
    true, false = (size.to_bytes(4, "little") for size in (len(content), 1_000))
    assert raw.count(true) >= 1
    path.write_bytes(raw.replace(true, false))
    return path


def too_many_parts(path: Path) -> Path:
    return repacked(good(path), path, {f"xl/media/{n}": b"" for n in range(3_000)})


def entities(path: Path) -> Path:
    source = good(path)
    doctype = b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><worksheet'
    sheet = part(source, SHEET).replace(b"<worksheet", doctype, 1)
    return repacked(source, path, {SHEET: sheet})


def sheet_with_an_endless_name(path: Path) -> Path:
    source = good(path)
    name = b'name="%s"' % (b"a" * 20_000)
    book = part(source, "xl/workbook.xml").replace('name="명부"'.encode(), name)
    assert len(book) > 20_000
    sheet = part(source, SHEET).replace(b"</row>", b'<c r="ZZZ1"><v>1</v></c></row>', 1)
    return repacked(source, path, {"xl/workbook.xml": book, SHEET: sheet})


def a_million_columns(path: Path) -> Path:
    """A value in the column of number 1,000,000, which no spreadsheet has."""
    source = good(path)
    cell = b'<c r="BDWGN1" t="n"><v>1</v></c></row>'
    return repacked(source, path, {SHEET: part(source, SHEET).replace(b"</row>", cell, 1)})


def external_links(path: Path) -> Path:
    link = b'<externalLink xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"/>'
    return repacked(good(path), path, {"xl/externalLinks/externalLink1.xml": link})


def formulas_never_calculated(path: Path) -> Path:
    return with_openpyxl(path, [KOREAN, ['=HYPERLINK("http://x.invalid","김")', *student(1)[1:]]])


def template_before_headings_never_calculated(path: Path) -> Path:
    def edit(book: Any) -> None:
        book.active.append(["이름", "학부모전화"])
        sheet = book.create_sheet("명부")
        sheet.append(['="이"&"름"', "학부모전화"])
        sheet.append(["김하늘", phone(1)])

    return edited(path, edit)


def commands_in_formulas(path: Path) -> Path:
    return with_openpyxl(path, [KOREAN, ["=cmd|'/c calc'!A0", *student(1)[1:]]])


def macros(path: Path) -> Path:
    project = path.with_suffix(".bin")
    project.write_bytes(b"any")
    with xlsxwriter.Workbook(path.with_suffix(".xlsm")) as book:
        book.add_worksheet().write_row(0, 0, KOREAN)
        book.add_vba_project(str(project))
    return path.with_suffix(".xlsm").rename(path)


def macros_in_an_encoded_name(path: Path) -> Path:
    return repacked(good(path), path, {"xl/vba%50roject.bin": b"any"})


def macro_sheet_in_an_encoded_folder(path: Path) -> Path:
    return repacked(good(path), path, {"xl%5Cmacro%73heets%2Fsheet1.xml": b"<a/>"})


def external_links_in_an_encoded_folder(path: Path) -> Path:
    return repacked(good(path), path, {"xl/external%4Cinks/externalLink1.xml": b"<a/>"})


def binary_format(path: Path) -> Path:
    return _binary(path, "xl/workbook.bin")


def binary_format_by_an_encoded_name(path: Path) -> Path:
    return _binary(path, "xl/workbook%2Ebin")


def _binary(path: Path, target: str) -> Path:
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    relationships = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{kind}" Target="{target}"/></Relationships>'
    )
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("_rels/.rels", relationships)
        package.writestr("xl/workbook.bin", bytes(100))
    return path


def cut_off(path: Path) -> Path:
    path.write_bytes(good(path).read_bytes()[:3_000])
    return path


def changed_bytes(path: Path) -> Path:
    raw = bytearray(with_xlsxwriter(path, [KOREAN, *map(student, range(500))]).read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 64] = bytes(64)
    path.write_bytes(raw)
    return path


def broken_xml(path: Path) -> Path:
    source = good(path)
    return repacked(source, path, {SHEET: part(source, SHEET)[:600]})


def no_sheet(path: Path) -> Path:
    return repacked(good(path), path, {SHEET: None})


def text(path: Path) -> Path:
    path.write_text("이름,학부모전화\n김,01012345678\n")
    return path


def web_page(path: Path) -> Path:
    """A file that some products call an Excel export."""
    path.write_text("<html><table><tr><td>이름</td></tr></table></html>")
    return path


def another_archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    return path


def old_excel(path: Path) -> Path:
    path.write_bytes(OLE + bytes(2_000) + "Workbook".encode("utf-16-le"))
    return path


def protected(path: Path) -> Path:
    path.write_bytes(OLE + bytes(2_000) + "EncryptedPackage".encode("utf-16-le"))
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def missing(path: Path) -> Path:
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def no_header(path: Path) -> Path:
    return with_xlsxwriter(path, [["이름", "전화번호"], ["김", "01012345678"]])


def nothing_in_it(path: Path) -> Path:
    return edited(path, lambda _book: None)


def all_hidden_but_a_chart(path: Path) -> Path:
    def edit(book: openpyxl.Workbook) -> None:
        book.active.append(KOREAN)
        book.active.sheet_state = "veryHidden"
        book.create_chartsheet("도표")

    return edited(path, edit)


HOSTILE: list[tuple[Callable[[Path], Path], str, str]] = [
    (zip_bomb, "bomb", "inflates to more than any roster needs"),
    (many_small_bombs, "bomb", "inflates to more than any roster needs"),
    (directory_that_lies, "damaged", "the file is damaged or was cut off"),
    (too_many_parts, "bomb", "holds 3009 parts, more than any workbook"),
    (entities, "bomb", "declares entities, as no workbook does"),
    (sheet_with_an_endless_name, "too_wide", "is 18,278 columns wide"),
    (a_million_columns, "too_wide", "is 1,000,000 columns wide"),
    (external_links, "external_links", "has links to other workbooks: break them"),
    (formulas_never_calculated, "formulas", "holds formulas that were never calculated"),
    (template_before_headings_never_calculated, "formulas", "holds formulas that were never"),
    (commands_in_formulas, "formulas", "holds formulas that were never calculated"),
    (macros, "macros", "holds macros: save it as .xlsx"),
    (macros_in_an_encoded_name, "macros", "holds macros: save it as .xlsx"),
    (macro_sheet_in_an_encoded_folder, "macros", "holds macros: save it as .xlsx"),
    (external_links_in_an_encoded_folder, "external_links", "has links to other workbooks"),
    (binary_format, "not_a_workbook", "is of the binary Excel format (.xlsb)"),
    (binary_format_by_an_encoded_name, "not_a_workbook", "is of the binary Excel format (.xlsb)"),
    (cut_off, "damaged", "the file is damaged or was cut off"),
    (changed_bytes, "damaged", "the file is damaged or was cut off"),
    (broken_xml, "damaged", "the file is damaged"),
    (no_sheet, "damaged", "the file is damaged"),
    (text, "not_a_workbook", "is not an Excel workbook (.xlsx)"),
    (web_page, "not_a_workbook", "is not an Excel workbook (.xlsx)"),
    (another_archive, "not_a_workbook", "is not an Excel workbook (.xlsx)"),
    (old_excel, "old_format", "is of the old Excel format (.xls): save it as .xlsx"),
    (protected, "protected", "is protected by a password: save it without one"),
    (empty, "empty", "is empty"),
    (missing, "missing", "there is no such file"),
    (folder, "unreadable", "is not a regular file"),
    (no_header, "no_header", "no visible sheet has a header"),
    (nothing_in_it, "no_header", "no visible sheet has a header"),
    (all_hidden_but_a_chart, "no_header", "no visible sheet has a header"),
]


@pytest.mark.parametrize("case", HOSTILE, ids=[case[0].__name__ for case in HOSTILE])
def test_hostile_file__one_line_and_a_failed_event(
    importing: Importing,
    redis_client: redis.Redis,
    tmp_path: Path,
    case: tuple[Callable[[Path], Path], str, str],
) -> None:
    write, code, line = case
    path = write(tmp_path / "명부.xlsx")
    with pytest.raises(RosterError) as caught:
        importing(path)

    assert caught.value.code == code
    message = str(caught.value)
    assert message.startswith(f"명부.xlsx: {line}") or line in message
    assert message.count("\n") == 0
    assert str(tmp_path) not in message
    last: Any = redis_client.xrevrange("tenant:1:events", count=1)
    event = orjson.loads(last[0][1][b"event"])
    assert (event["type"], event["code"], event["error"]) == ("failed", code, message)


def test_hostile_file__leaves_no_row(
    importing: Importing, database: Database, tmp_path: Path
) -> None:
    """A workbook is read to its end before its first row is saved."""
    source = with_openpyxl(tmp_path / "source", [KOREAN, *map(student, range(3_000))])
    sheet = part(source, SHEET)
    path = repacked(source, tmp_path / "a.xlsx", {SHEET: sheet[: len(sheet) - 500]})
    with pytest.raises(RosterError):
        importing(path)
    assert counts(database) == (0,) * 4
