"""The sweep: finding streams with entries that no append marked ready.

An append marks its tenant ready; a raw XADD does not, and a failover can lose marks and groups. The
elected consumer (of any group) therefore examines all streams every 1.5 s, and twice as often while
they are few.

`chore` runs the steps in their order. `known_streams` finds the streams and their newest entries;
`open_streams` compares the groups with them; `stream_figures` publishes the result as metrics. Used
by `consumers.composition` and `consumers.loop.runner`.
"""
