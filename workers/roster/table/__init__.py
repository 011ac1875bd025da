"""The meaning of a sheet: its header row, and the fields of each row as a student.

Rows of text come from `xlsx`; checked values go to the reader process. Nothing here opens a file or
uses a database.
"""
