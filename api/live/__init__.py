"""Live streams of changes: one job's, and all of a tenant's, as server-sent events.

One subscription a tenant hears of changes in Redis and wakes the waiters; each of them sends what
`api.answers` rendered. The room must not import the endpoints of other rooms.
"""
