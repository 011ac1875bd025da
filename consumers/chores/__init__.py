"""Chores: the periodic work that consumers do between batches.

`periodic` is their base: a chore is due in intervals, and most are done by one elected consumer
(`election`). The sweep (`sweep`) finds streams with unread entries; `retention` trims streams and
drops old history; `reaper` ends stalled jobs; `promotions` restores what a failover lost;
`heartbeat` and `samples` write the figures that the console shows. The runner of the loop runs the
chores that `consumers.composition` passed in. Modules in here must not import the loop.
"""
