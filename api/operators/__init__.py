"""The operators' endpoints and the console: all tenants, for callers with the scope `ops`.

The scope `ops:read` permits the same without actions (`gate`). Rows are read from PostgreSQL
(`jobs`, `database`); data about delivery comes through the protocols in `operator_view` and
`letters.view`, which the command line implements. Every action is recorded (`actions`). This
folder must not import `consumers`.
"""
