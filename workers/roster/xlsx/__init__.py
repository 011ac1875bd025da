"""The format of a workbook: its package, parts, markup, cells and rows.

Bytes of an untrusted file come in, rows of text go out. The room knows nothing of students.
"""
