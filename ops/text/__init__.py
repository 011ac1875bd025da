"""Text for people: tables, numbers with nouns, times. Nothing is printed or escaped here.

Used by all of `ops`. Nothing else of the project is imported here.
"""
