"""The checks of `jobtrail doctor`, and what they found, as findings with advice.

Settings and live servers come in, findings go out, and `report` prints them. No command is imported
here.
"""
