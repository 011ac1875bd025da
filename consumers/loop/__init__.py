"""One consumer's loop: read a batch, settle it, do what is due in between, stop.

`runner` runs the turns: it takes the next batch from `read_ahead` and passes it to `settling`,
which applies it through the projection that `consumers.composition` passed in, and acknowledges it.
`outages` waits while a server is unavailable; `shutdown` ends the process. Modules in here must not
import a projection's writer.
"""
