"""Readers of what is projected: documents and feeds in Redis, rows and history in PostgreSQL.

Nothing here writes, and nothing here may import a writer.
"""
