"""Projections: stored views of jobs that are derived from the events of the streams.

    entries -> decoding -> batch -> fold -> state -> documents -> `status` (Redis)
                                                  -> rows, history -> `rows` (PostgreSQL)
    Redis, PostgreSQL -> reading -> API and command line
    history, streams -> replay -> `status` and `rows`, written again or verified

Decoding, the fold and the documents are pure functions. Consumers and commands find projections in
`registry`. This package must not import consumers, the API or the command line.
"""
