"""The reference import worker: a workbook of students becomes rows, as a job of type `excel`.

    importer -> reader_client -> reader_process: xlsx (the format) -> table (the meaning)
    importer -> store -> PostgreSQL

A *row* is one line of the sheet below its header, by the number that the spreadsheet shows. The
*reader* is a separate process without secrets and with little memory: it parses the workbook,
checks each row and returns plain text. The *store* identifies students by their *pair*, which is
name and parent's phone, and saves a *chunk* of rows in one statement. `xlsx` knows no students,
`table` no database, and neither imports the importer.
"""
