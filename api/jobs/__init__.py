"""Durable reads: lists of jobs, one job and its history, from PostgreSQL.

A request's parameters become a query, and rows become items of the answer. Nothing here reads
Redis or writes anything.
"""
