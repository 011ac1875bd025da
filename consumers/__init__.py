"""Consumer processes: read the tenants' streams and apply their entries to the projections.

An entry's way: a producer appends it and marks its tenant ready. `delivery` leases ready tenants
and reads their new entries as a member of a consumer group. `loop` decodes a batch, applies it
through the projection that `composition` passed in, and acknowledges it. An entry that can never be
applied moves to `dead_letters`. `chores` are the periodic work between batches.

Layers, lowest first: `collectors`, `faults`, `protocols`, `round_trips`; `metrics`, `tracing`;
`delivery`; `dead_letters`; `chores`; `loop`; `composition`. Only `composition` imports the writers
of projections; every other module shares nothing but decoded entries with them. `ops` uses this
package for its commands; `api` must not import it.
"""
