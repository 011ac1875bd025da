"""Reference workers: real work that is reported through the SDK.

`video` turns a file into HLS; `roster` imports a workbook of students. `confinement` limits the
processes in which both read untrusted files. Workers import `streams` and `sql`, never the API, the
consumers or the projections, and never each other. Used by `ops.tasks` (`jobtrail video encode`,
`jobtrail roster import` and the demo of `jobtrail up`).
"""
