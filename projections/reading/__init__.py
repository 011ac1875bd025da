"""Readers of what is projected: documents and feeds in Redis, rows and history in PostgreSQL.

    Redis -> documents, feed         -> progress answers and live streams
    PostgreSQL -> jobs, history      -> lists and stored jobs of one tenant
    PostgreSQL -> all_tenants        -> the console of operators, with `explain`

The API uses this room. Nothing in it writes, and it must not import a writer.
"""
