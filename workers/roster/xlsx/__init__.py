"""The format of a workbook: its package, parts, markup, cells and rows.

Bytes of an untrusted file come in, rows of text go out. Nothing here knows students; `table` and
the importer are not imported.
"""
