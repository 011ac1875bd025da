"""The meaning of a sheet: its header row, and each row's fields as a student.

Rows of text come from `xlsx`, checked values go to the importer. Nothing here opens a file or
knows a database.
"""
