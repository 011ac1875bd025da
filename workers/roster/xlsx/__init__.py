"""The format of a workbook: its package, parts, markup, cells and rows.

Bytes of an untrusted file come in, rows of text go out. A workbook is a zip archive, its *package*,
whose files are its *parts*. Nothing here knows students; `table` and the importer are not imported.
Used by `workers.roster.reader_process` and `workers.roster.table`.
"""
