"""Processes of this machine: children that are supervised, and their descendants.

The room imports nothing else of `ops`.
"""
