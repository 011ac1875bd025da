"""Child processes: one child (`child`), several that are kept running (`supervisor`), descendants.

`ports` finds free ports. Used by the embedded servers (`ops.devstack`), `jobtrail up` and
`jobtrail consume`. Nothing else of `ops` is imported here.
"""
