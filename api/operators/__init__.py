"""The operators' endpoints and their console: all tenants, for the scope `ops`.

What delivery knows comes through the protocol in `delivery`, which the command line implements:
the room must not import `consumers`.
"""
