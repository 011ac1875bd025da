"""The header of a table: its row and columns, from the headings and the cells below them.

Used by `workers.roster.table.sheets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from workers.roster.table.heading_words import (
    CLEAR,
    FIELDS,
    LIKELY,
    PARENT,
    POSSIBLE,
    Claims,
    claims_of,
    is_group,
)
from workers.roster.table.phones import looks_like_phone
from workers.roster.table.rows import gender_value
from workers.roster.table.schools import grade_value
from workers.roster.xlsx.cells import Dated, has_letter
from workers.roster.xlsx.worksheet import Merge

HEADER_WITHIN = 50
"""The header must be within this number of rows from the top."""

SAMPLE_ROWS = 200
"""The number of rows below a header that are read to choose its columns."""

NEEDED = ("name", "parent_phone")
"""Fields that every header must have columns for."""

_MOSTLY = 0.5
"""The part of a column's cells that must look like a field's values, if the heading is unclear."""
_LONGEST_NAME = 40
_HEADING_ROWS = 3
"""Rows of the largest header: groups, groups within them, columns."""

Texts = Mapping[int, str]
Columns = dict[str, int]
"""The index of each field's column."""


class Row(NamedTuple):
    """A row from the top of a sheet."""

    number: int
    texts: Texts


class Header(NamedTuple):
    """A header: the number of its last row, its columns, and the texts of all its rows."""

    number: int
    columns: Columns
    rows: list[Texts]


class _Heading(NamedTuple):
    claims: Claims
    cells: list[str]
    """The cells below the heading, in the rows of the sample."""


def find_header(rows: Sequence[Row], merged: Sequence[Merge]) -> Header | None:
    """Return the header in the first rows of a sheet, or None.

    A candidate is a row with headings for all needed fields. The header is the first candidate with
    a student between it and the next one; if there is none, the one with the clearest headings.
    """
    found = []
    for index, row in enumerate(rows):
        if row.number > HEADER_WITHIN:
            break
        if candidate := _header_at(rows, index, merged):
            found.append((index, *candidate))
    if not found:
        return None
    ends = [*(index for index, _, _ in found[1:]), len(rows)]
    for (start, header, _), end in zip(found, ends, strict=True):
        if any(_is_student(row.texts, header.columns) for row in rows[start + 1 : end]):
            return header
    return max(found, key=lambda each: each[2])[1]


def _header_at(
    rows: Sequence[Row], index: int, merged: Sequence[Merge]
) -> tuple[Header, int] | None:
    """Return a row as a header with the clearness of its headings, or None."""
    row = rows[index]
    above = [
        each
        for each in rows[max(index - _HEADING_ROWS + 1, 0) : index]
        if row.number - each.number < _HEADING_ROWS
    ]
    below = rows[index + 1 : index + 1 + SAMPLE_ROWS]
    if not any(map(claims_of, row.texts.values())):
        return None
    groups, lifted = _groups(above, row, merged)
    headings: dict[int, _Heading] = {}
    for column in sorted({*row.texts, *lifted}):
        text = row.texts.get(column) or lifted.get(column, "")
        claims = claims_of(text, groups.get(column, "") if column in row.texts else "")
        if claims:
            cells = [each.texts[column] for each in below if column in each.texts]
            headings[column] = _Heading(claims, cells)
    columns = _columns(headings)
    if any(field not in columns for field in NEEDED):
        return None
    clearness = sum(headings[columns[field]].claims.get(field, 0) for field in NEEDED)
    return Header(row.number, columns, [each.texts for each in (*above, row)]), clearness


def _groups(
    above: Sequence[Row], row: Row, merged: Sequence[Merge]
) -> tuple[dict[int, str], dict[int, str]]:
    """Return the group above each column, and the headings that only the rows above have."""
    groups: dict[int, str] = {}
    lifted: dict[int, str] = {}
    for each in above:
        spans = [span for span in merged if span.top == each.number and span.left in each.texts]
        if len(each.texts) > 1 and any(map(is_group, each.texts.values())):
            groups |= _spread(each.texts, row.texts, {span.left: span.right for span in spans})
            lifted.update(each.texts)
        lifted |= {span.left: each.texts[span.left] for span in spans if span.bottom >= row.number}
    return groups, lifted


def _spread(above: Texts, columns: Iterable[int], ends: Mapping[int, int]) -> dict[int, str]:
    """Return the group of each column; a cell that is not merged extends to the next heading."""
    groups: dict[int, str] = {}
    start = -1
    for column in sorted({*above, *columns}):
        start = column if column in above else start
        if start >= 0 and column <= ends.get(start, column) and is_group(above[start]):
            groups[column] = above[start]
    return groups


def _columns(headings: Mapping[int, _Heading]) -> Columns:
    """Choose a column for each field; each column is used once."""
    chosen: Columns = {}
    for field in ("parent_phone", *(field for field in FIELDS if field != "parent_phone")):
        ranks = {
            column: rank
            for column, heading in headings.items()
            if column not in chosen.values()
            and (rank := _rank(field, _claim(field, column, headings), heading))
        }
        if ranks:
            # `max` takes the first, which is the left one, of equal columns.
            chosen[field] = max(sorted(ranks), key=lambda column: ranks[column])
    return chosen


def _claim(field: str, column: int, headings: Mapping[int, _Heading]) -> int:
    """Return the clearness with which a column means a field, 0 if it does not.

    The heading to its left counts too.
    """
    claim = headings[column].claims.get(field, 0)
    if field == "parent_phone" and not claim and "phone" in headings[column].claims:
        # 보호자 | 연락처: a phone column right of a person's column is that person's, unless
        # another column clearly is.
        left = headings.get(column - 1)
        if left and PARENT in left.claims and not _has_phones(left):
            stated = any(each.claims.get(field) == CLEAR for each in headings.values())
            return 0 if stated else POSSIBLE
    return claim


def _rank(field: str, claim: int, heading: _Heading) -> tuple[bool, int, bool] | None:
    """Return the rank of a column among those for a field; None if it does not fit the field."""
    share = _share(_LOOKS.get(field, bool), heading.cells)
    if not claim or (claim == POSSIBLE and share < _MOSTLY):
        return None
    if claim == LIKELY and field == "parent_phone" and heading.cells and not _has_phones(heading):
        return None  # a column of parents, not of their phones
    return share >= _MOSTLY, claim, share > 0


def _has_phones(heading: _Heading) -> bool:
    """Return True if the cells below hold phones, and at least as many as names."""
    phones = _share(looks_like_phone, heading.cells)
    return phones > 0 and phones >= _share(looks_like_name, heading.cells)


def _share(looks: Callable[[str], object], cells: Sequence[str]) -> float:
    return sum(1 for cell in cells if looks(cell)) / len(cells) if cells else 0.0


def looks_like_name(text: str) -> bool:
    """Return True if a text can be a person's name."""
    return (
        has_letter(text)
        and len(text) <= _LONGEST_NAME
        and not isinstance(text, Dated)
        and not any(map(str.isdigit, text))
    )


def _is_student(texts: Texts, columns: Columns) -> bool:
    name, phone = (texts.get(columns[field], "") for field in NEEDED)
    return has_letter(name) and looks_like_phone(phone)


_LOOKS: dict[str, Callable[[str], object]] = {
    "name": looks_like_name,
    "parent_phone": looks_like_phone,
    "phone": looks_like_phone,
    "grade": grade_value,
    "gender": gender_value,
}
