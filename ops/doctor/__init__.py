"""The checks of `jobtrail doctor`.

`checks.CHECKS` lists all checks; `examination.examine` runs them against a `Deployment` and returns
findings, which `ops.commands.doctor` prints. `legacy` counts the old keys, for `--legacy`.
`connection_budget` also serves `jobtrail api`, which refuses a pool above the limits. No command is
imported here.
"""
