"""The reference import worker: a workbook of students becomes rows, as a job of type `excel`.

A *row* is one line of the sheet below its header, by the number that the spreadsheet shows. The
*reader* is a process of its own that holds no secrets and little memory: it parses the workbook,
checks each row and hands on plain text. The *store* knows students by their *pair*, name and
parent's phone, and saves a *chunk* of rows in one statement.
"""
