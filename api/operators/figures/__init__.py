"""The operators' endpoints for figures: jobs and delivery over time, tenants, alerts.

All open consoles share the answers for some seconds (`cached_answer`). `jobs` has the figures of
all jobs and the charts, `tenants` the list of tenants and one of them, `issues` what was wrong in
the last day, `alerts` those of Prometheus. Used by `api.operators.routes`.
"""
