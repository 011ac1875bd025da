"""Delivery: which tenants are ready, what a consumer group has read, and how far it is behind.

`ready` leases tenants, `groups` reads and acknowledges their entries, `batch_size` bounds what is
read at once, `lag` measures what is not settled yet. `group_commands` builds every command on a
consumer group. Modules in here must not import a projection or another folder of the consumers.
"""
