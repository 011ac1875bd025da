"""Child processes: one child (`child`), several that are kept running (`supervisor`), descendants.

Used by the embedded servers (`ops.devstack`) and by `jobtrail up`. Nothing else of `ops` is
imported here.
"""
