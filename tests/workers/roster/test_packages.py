"""Archives of other producers: parts are found by relationships, and cost depends on cells."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter  # type: ignore[import-untyped]

from tests.support.workbooks import edited, part, repacked, with_xlsxwriter
from tests.workers.roster.test_workbooks import HEADER, KIM, LEE, rows_of
from workers.roster import reader_process
from workers.roster.errors import RosterError
from workers.roster.xlsx.package import inspect

MAIN = "xl/workbook.xml"
Repack = Callable[[dict[str, bytes]], dict[str, bytes]]


def _moved(parts: dict[str, bytes], old: str, new: str) -> dict[str, bytes]:
    """Rename a part and its relationships everywhere in the archive."""
    renamed = {name.replace(old, new): content for name, content in parts.items()}
    short_old, short_new = (name.removeprefix("xl/").encode() for name in (old, new))
    return {
        name: content.replace(old.encode(), new.encode()).replace(
            b'Target="%s"' % short_old, b'Target="%s"' % short_new
        )
        for name, content in renamed.items()
    }


def main_part_of_another_name(parts: dict[str, bytes]) -> dict[str, bytes]:
    parts = _moved(parts, MAIN, "xl/workbook2.xml")
    return _moved(parts, "xl/_rels/workbook.xml.rels", "xl/_rels/workbook2.xml.rels")


def main_part_at_the_root(parts: dict[str, bytes]) -> dict[str, bytes]:
    parts = _moved(parts, MAIN, "book.xml")
    rels = parts.pop("xl/_rels/workbook.xml.rels")
    parts["_rels/book.xml.rels"] = rels.replace(b'Target="', b'Target="xl/')
    return parts


def other_names_everywhere(parts: dict[str, bytes]) -> dict[str, bytes]:
    for old, new in (
        ("xl/worksheets/sheet1.xml", "xl/tables/roster.data"),
        ("xl/sharedStrings.xml", "xl/strings1.xml"),
        ("xl/styles.xml", "xl/look/styles9.xml"),
    ):
        parts = _moved(parts, old, new)
    return parts


def absolute_targets(parts: dict[str, bytes]) -> dict[str, bytes]:
    rels = parts["xl/_rels/workbook.xml.rels"].replace(b'Target="', b'Target="/xl/')
    root = parts["_rels/.rels"].replace(b'Target="', b'Target="/')
    return parts | {"xl/_rels/workbook.xml.rels": rels, "_rels/.rels": root}


def roundabout_targets(parts: dict[str, bytes]) -> dict[str, bytes]:
    rels = parts["xl/_rels/workbook.xml.rels"].replace(b'Target="', b'Target="../xl/./')
    return parts | {"xl/_rels/workbook.xml.rels": rels}


def escaped_target(parts: dict[str, bytes]) -> dict[str, bytes]:
    parts = _moved(parts, "xl/worksheets/sheet1.xml", "xl/worksheets/my sheet.xml")
    name = "xl/_rels/workbook.xml.rels"
    return parts | {name: parts[name].replace(b"my sheet", b"my%20sheet")}


def escaped_member(parts: dict[str, bytes]) -> dict[str, bytes]:
    return _moved(parts, "xl/worksheets/sheet1.xml", "xl/worksheets/my%20sheet.xml")


def escaped_member_of_a_plain_target(parts: dict[str, bytes]) -> dict[str, bytes]:
    parts = escaped_member(parts)
    name = "xl/_rels/workbook.xml.rels"
    return parts | {name: parts[name].replace(b"my%20sheet", b"my sheet")}


def escaped_main_part(parts: dict[str, bytes]) -> dict[str, bytes]:
    parts = _moved(parts, MAIN, "xl/work%20book.xml")
    return _moved(parts, "xl/_rels/workbook.xml.rels", "xl/_rels/work%20book.xml.rels")


def default_type_of_the_main_part(parts: dict[str, bytes]) -> dict[str, bytes]:
    """The main part has the usual name, and the type of its extension."""
    name = "[Content_Types].xml"
    main = rb'application/[^"]+sheet\.main\+xml'
    (kind,) = re.findall(main, parts[name])
    types = re.sub(rb'<Override[^>]+sheet\.main\+xml"/>', b"", parts[name])
    types = types.replace(
        b'Extension="xml" ContentType="application/xml"', b'Extension="xml" ContentType="%s"' % kind
    )
    assert re.search(main, types)
    return {each: text for each, text in parts.items() if each != "_rels/.rels"} | {name: types}


def upper_case(parts: dict[str, bytes]) -> dict[str, bytes]:
    return {name.upper(): content for name, content in parts.items()}


def backslashes(parts: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace("/", "\\"): content for name, content in parts.items()}


def no_package_relationships(parts: dict[str, bytes]) -> dict[str, bytes]:
    parts = _moved(parts, MAIN, "xl/workbook2.xml")
    parts = _moved(parts, "xl/_rels/workbook.xml.rels", "xl/_rels/workbook2.xml.rels")
    return {name: content for name, content in parts.items() if name != "_rels/.rels"}


def macro_enabled_without_macros(parts: dict[str, bytes]) -> dict[str, bytes]:
    kind = b"application/vnd.ms-excel.sheet.macroEnabled.main+xml"
    types = re.sub(rb"[^\"]+sheet\.main\+xml", kind, parts["[Content_Types].xml"])
    return parts | {"[Content_Types].xml": types}


def strict(parts: dict[str, bytes]) -> dict[str, bytes]:
    """The namespaces of ISO 29500 strict."""
    old = b"http://schemas.openxmlformats.org/"
    new = b"http://purl.oclc.org/ooxml/"
    return {
        name: content.replace(old + b"spreadsheetml/2006/main", new + b"spreadsheetml/main")
        .replace(old + b"officeDocument/2006/relationships", new + b"officeDocument/relationships")
        for name, content in parts.items()
    }  # fmt: skip


def another_prefix_for_relationships(parts: dict[str, bytes]) -> dict[str, bytes]:
    book = parts[MAIN].replace(b"xmlns:r=", b"xmlns:rel=").replace(b"r:id=", b"rel:id=")
    return parts | {MAIN: book}


def _parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as package:
        return {name: package.read(name) for name in package.namelist()}


def _packed(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "repack",
    [main_part_of_another_name, main_part_at_the_root, other_names_everywhere, absolute_targets,
     roundabout_targets, escaped_target, escaped_member, escaped_member_of_a_plain_target,
     escaped_main_part, default_type_of_the_main_part, upper_case, backslashes,
     no_package_relationships, macro_enabled_without_macros, strict,
     another_prefix_for_relationships],
)  # fmt: skip
def test_package_of_another_producer__gives_its_rows(repack: Repack, tmp_path: Path) -> None:
    source = _parts(with_xlsxwriter(tmp_path / "source.xlsx", [HEADER, KIM, LEE]))
    changed = repack(dict(source))
    assert changed != source
    assert rows_of(_packed(tmp_path / "a.xlsx", changed)) == [(2, *KIM), (3, *LEE)]


def test_another_main_part__is_not_the_one_that_is_read(tmp_path: Path) -> None:
    """A part that only has the usual name is not part of the workbook."""
    parts = _parts(with_xlsxwriter(tmp_path / "source.xlsx", [HEADER, KIM]))
    decoy = parts[MAIN].replace("명부".encode(), b"decoy").replace(b"rId1", b"rId99")
    changed = main_part_of_another_name(parts) | {MAIN: decoy}
    assert rows_of(_packed(tmp_path / "a.xlsx", changed)) == [(2, *KIM)]


@pytest.mark.parametrize(
    ("main", "content", "line"),
    [("word/document.xml", b"<document/>", "is not an Excel workbook"),
     ("xl/workbook.bin", b"\x83\x01", "is of the binary Excel format")],
)  # fmt: skip
def test_document_of_another_kind__is_no_workbook(
    main: str, content: bytes, line: str, tmp_path: Path
) -> None:
    root = b"http://schemas.openxmlformats.org/"
    relation = b'<Relationship Id="a" Type="%sofficeDocument/2006/relationships/officeDocument"'
    rels = b"<Relationships>" + relation % root + b' Target="%s"/></Relationships>' % main.encode()
    path = _packed(tmp_path / "a.xlsx", {"_rels/.rels": rels, main: content})
    with pytest.raises(RosterError, match=line) as caught:
        rows_of(path)
    assert caught.value.code == "not_a_workbook"


@pytest.mark.parametrize(
    ("row", "column"), [(1_048_576, 1), (1_048_576, 40), (1_048_576, 16_384), (3, 16_384)]
)
@pytest.mark.parametrize("value", ["x", " ", 0])
def test_stray_cell_far_away__costs_a_cell(
    row: int, column: int, value: object, tmp_path: Path
) -> None:
    def edit(book: Any) -> None:
        for cells in ([*HEADER, *(f"열{n}" for n in range(38))], KIM):
            book.active.append(cells)
        book.active.cell(row, column, value)

    path = edited(tmp_path / "a.xlsx", edit)
    found = rows_of(path)
    assert found[0] == (2, *KIM)
    assert len(found) == (2 if column == 1 and value != " " else 1)


def test_stray_cell_far_away__needs_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(book: Any) -> None:
        for cells in (HEADER, KIM):
            book.active.append(cells)
        book.active.cell(1_048_576, 16_384, "x")

    monkeypatch.setattr(reader_process, "_send", lambda _message: None)
    path = edited(tmp_path / "a.xlsx", edit)
    with (tmp_path / "spool").open("wb") as spool:
        assert reader_process._read(path, spool)["total"] == 1
    assert (tmp_path / "spool").stat().st_size < 1_000


def test_formats_down_to_the_last_row_and_column__are_no_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet, bold = book.add_worksheet(), book.add_format({"bold": True})
        sheet.set_column(0, 16_383, 10, bold)
        sheet.write_row(0, 0, HEADER)
        sheet.write_row(1, 0, KIM)
        for number in range(2, 3_000):
            sheet.set_row(number, 20, bold)
            sheet.write_blank(number, number % 16_384, None, bold)
        sheet.write_blank(1_048_575, 16_383, None, bold)
    assert rows_of(path) == [(2, *KIM)]


def test_zip_with_a_part_missing__is_damaged(tmp_path: Path) -> None:
    source = with_xlsxwriter(tmp_path / "source.xlsx", [HEADER, KIM])
    name = "xl/sharedStrings.xml"
    assert part(source, name)
    path = repacked(source, tmp_path / "a.xlsx", {name: None})
    with pytest.raises(RosterError) as caught:
        rows_of(path)
    assert caught.value.code == "damaged"


def test_name_of_a_part_that_is_not_utf_8__is_damaged(tmp_path: Path) -> None:
    path = _packed(tmp_path / "a.xlsx", {"xl/\xe9.xml": b"x"})
    path.write_bytes(path.read_bytes().replace("\xe9".encode(), b"\xff\xfe"))
    with pytest.raises(RosterError) as caught:
        inspect(path)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_no_workbook_has__is_no_workbook(tmp_path: Path, method: int) -> None:
    """The content is broken, too: it must not be inflated."""
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", method) as package:
        package.writestr("a.xml", b"x" * 5_000)
    content = bytearray((tmp_path / "a.xlsx").read_bytes())
    content[50:56] = b"\xff" * 6
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(RosterError) as caught:
        inspect(tmp_path / "a.xlsx")
    assert caught.value.code == "not_a_workbook"
