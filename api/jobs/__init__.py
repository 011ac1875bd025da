"""The endpoints of stored jobs: lists, one job and its history, read from PostgreSQL.

The parameters of a request become a query (`parameters`), which runs as the caller's tenant
(`database`), and rows become items of the answer (`items`). This folder must not use Redis.
"""
