"""Operators' actions: the log in which each is recorded, and the endpoint that lists them."""
