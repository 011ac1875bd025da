"""The operators' endpoints and the console: all tenants, for callers with the scope `ops`.

Rows are read from PostgreSQL (`jobs`, `database`); data about delivery comes through the protocol
in `operator_view`, which the command line implements. This folder must not import `consumers`.
"""
