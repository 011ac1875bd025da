"""Sizing a deployment: measured costs, and what a load needs by them.

`costs` has the figures and their sources; `model` adds them up for a load; `report` puts the result
into tables. Nothing in here reaches a server.
"""
