"""Reads of all tenants' rows, for the console of operators, over an asyncio connection.

Each read is one short transaction as the role `jobtrail_ops` (`transaction`). `job_list` reads
lists, `job_details` one job, `stalled_jobs` the jobs without recent events, `failures` failed jobs
by their errors, `figures` their numbers and durations, `suggestions` ids and tenants near to what
was typed. `api.operators` uses the modules.
"""
