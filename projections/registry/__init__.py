"""The registry of projections: those built in, and those of installed packages.

A *projection* is one `RegisteredProjection` (`definition`): its consumer group and the callables
that write, replay, reset and verify it. `lookup` finds it by its group's name; packages add theirs
by an entry point of the group `jobtrail.projections`. Consumers, `replay`, `verify`, `lag`, `up`
and the doctor know a projection by its registration alone. Other modules of `projections/` must not
import this room.
"""
