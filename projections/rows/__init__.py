"""The projection `rows`: one row of each job, and the history, in PostgreSQL.

    entries -> writer -> columns -> table `jobs`
                      -> projections.history -> table `job_events`

Entries come from a consumer or a replay. This package must not import `status`.
"""
