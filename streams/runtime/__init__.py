"""Environment variables, signals, and text that is safe to print.

Used by all processes. Nothing else of `streams` is imported here.
"""
