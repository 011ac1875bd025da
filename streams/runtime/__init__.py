"""Environment variables, signals, and text that is safe to print, for all processes.

Nothing else of `streams` is imported here.
"""
