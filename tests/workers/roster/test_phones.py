"""Phone numbers: the number as written, or a reason, and never another person's number."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.workbooks import part, repacked, with_openpyxl, with_xlsxwriter
from tests.workers.roster.test_workbooks import HEADER, NO_PHONE, rows_of
from workers.roster.table.phones import normalise_phone
from workers.roster.table.rows import WRONG_PHONE

NUMBER = "01012345678"
SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    "text",
    ["01012345678", "010-1234-5678", "010 1234 5678", "010.1234.5678", "010/1234/5678",
     "010–1234–5678", "010—1234—5678", "010−1234−5678", "010‑1234‑5678", "010·1234·5678",
     "010_1234_5678", "010,1234,5678", "(010)1234-5678", "(010) 1234 5678", "[010]1234-5678",
     "０１０－１２３４－５６７８", "010ー1234ー5678", "010ㅡ1234ㅡ5678", "010-12345678",
     "0101234-5678", "1012345678", "10-1234-5678",
     "10.12345678", "'01012345678", "`010-1234-5678", "’1012345678",
     "+82-10-1234-5678", "+82 10 1234 5678", "+821012345678", "+82 (0)10-1234-5678",
     "+82-010-1234-5678", "+82(0)1012345678", "(+82) 10-1234-5678", "+(82)10-1234-5678",
     "82-10-1234-5678", "821012345678", "8201012345678", "0082-10-1234-5678", "00821012345678",
     "0082 (0)10 1234 5678", "00 82 10 1234 5678", "＋82 10 1234 5678",
     "010-1234-5678(모)", "모) 010-1234-5678", "엄마 010-1234-5678", "010-1234-5678 어머니",
     "HP: 010-1234-5678", "tel.010-1234-5678", "1012345678(모)", "어머니 1012345678",
     "- 010-1234-5678", "1.012345678E+09", "1.012345678e9", "1.01234567800E+9",
     "1012345678E0", "101234567.8E1", "8.21012345678E+11"],
)  # fmt: skip
def test_number_that_says_all_its_digits__is_that_number(text: str) -> None:
    assert normalise_phone(text) == NUMBER


@pytest.mark.parametrize(
    "text",
    ["1.0123457E+09", "1.01234567E+09", "1.01E+09", "1.0123457e9", "1.0123457E9", "1,0123457E+09",
     "1.0123457E 09", "1.0123457 E+09", "1.0123457×10^9", "1.0123457x10 9", "10123457E+02",
     "+1.0123457E+09", "-1.0123457E+09", "'1.0123457E+09", "010E1234567",
     "１．０１２３４５７Ｅ＋０９",
     "1.0123457E+090", "8.2101234568E+11", "-1.012345678E+09", "+1.012345678E+09",
     "1.0123456785E+09", "1E1012345678", "1.0123457E+09 (모)", "1.0123457E+09-1"],
)  # fmt: skip
def test_exponent_that_hides_digits__is_no_number(text: str) -> None:
    assert normalise_phone(text) is None


@pytest.mark.parametrize(
    "text",
    ["-1012345678", "−1012345678", "+1012345678", "(1012345678)", "1012345678-", "1012345678%",
     "101234567.8", "1012345678.5", "-10-1234-5678", "+01012345678", "+010-1234-5678",
     "+1 012-345-678", "+1-010-1234-5678", "+81-10-1234-5678", "+8210-1234-567", "-821012345678",
     "010-1234-5678 / 010-8765-4321", "010-1234-5678,010-8765-4321", "010-1234-5678 010-8765-4321",
     "01012345678/9", "010-1234-5678~9", "010-1234-567 x8", "010-1234-567(8)", "010-1234-567/8",
     "010-1234-5678 내선 12", "010-1234-5678 ext. 3", "010-1234-5678#2", "010-1234-5678;ext=1",
     "010-1234-5678 (2학년)", "1반 010-1234-5678", "02-1234-5678", "031-123-4567", "070-1234-5678",
     "1588-1234", "011-1234-5678", "016-123-4567", "010-123-4567", "010-12345-6789", "5678",
     "010-1234-567①", "010-1234-5678²", "①010-1234-5678", "010-1234-567Ⅷ", "010-1234-567½",
     "٠١٠١٢٣٤٥٦٧٨", "010-1234-567٨", "101234567800000", "1.0123457", "0x3C5A914E", "010-1234-OOOO",
     "010-1234-****", "010l2345678", "없음", "-", ""],
)  # fmt: skip
def test_text_that_may_mean_another_number__is_no_number(text: str) -> None:
    assert normalise_phone(text) is None


@given(st.decimals(1_000_000_000, 1_099_999_999, places=0), st.integers(0, 9))
def test_number_rounded_to_an_exponent__is_itself_or_none(number: object, places: int) -> None:
    """A number in exponent form is refused unless all its digits are stated."""
    written = f"{int(str(number)):.{places}E}"
    assert normalise_phone(written) in (None if places < 9 else f"0{number}", f"0{number}")


@given(st.text(st.sampled_from("0128-+ .()E/,eㅇ모"), max_size=24))
def test_any_text__gives_no_digits_that_are_not_in_it(text: str) -> None:
    found = normalise_phone(text)
    if found and not any(letter in "eE" for letter in text):
        digits = "".join(filter(str.isdigit, text))
        assert digits.endswith(found[1:])
        assert digits.removesuffix(found[1:]) in ("", "0", "82", "820", "0082", "00820")


@pytest.mark.parametrize(
    ("text", "words"),
    [("1.0123457E+09", "지수"), ("１.0123457E+9", "지수"),
     ("010-1234-5678 / 010-8765-4321", "둘 이상"), ("010-1234-5678\n010-8765-4321", "둘 이상")],
)  # fmt: skip
def test_refused_phone__says_why(text: str, words: str, tmp_path: Path) -> None:
    [(row, name, reason)] = rows_of(with_openpyxl(tmp_path / "a.xlsx", [HEADER, ["김", text]]))
    assert (row, name) == (2, "김")
    assert reason.startswith(WRONG_PHONE)
    assert words in reason


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ("1012345678", NUMBER),
        ("1.012345678E9", NUMBER),
        ("1012345678.0", NUMBER),
        ("1.0123457E9", "01012345700"),
        ("821012345678", NUMBER),
        ("1012345678.5", NO_PHONE),
        ("101234567.8", NO_PHONE),
        ("-1012345678", NO_PHONE),
        ("10123456789012345678", None),
        ("1.2345678901234567E+15", None),
    ],
)
def test_number_in_a_numeric_cell__is_that_number(
    stored: str, found: str | None, tmp_path: Path
) -> None:
    """A numeric cell has the same number, whatever its notation in the file."""
    source = with_xlsxwriter(tmp_path / "source.xlsx", [HEADER, ["김", 77]])
    sheet = part(source, SHEET).replace(b"<v>77</v>", b"<v>%s</v>" % stored.encode())
    [row] = rows_of(repacked(source, tmp_path / "a.xlsx", {SHEET: sheet}))
    if found is None:
        assert row[2].startswith(WRONG_PHONE)
    else:
        assert row == (2, "김", found)


def test_own_phone_in_doubt__is_left_out(tmp_path: Path) -> None:
    rows = [[*HEADER, "학생 전화"], ["김", NUMBER, "1.0123457E+09"]]
    assert rows_of(with_xlsxwriter(tmp_path / "a.xlsx", rows)) == [(2, "김", NUMBER)]
