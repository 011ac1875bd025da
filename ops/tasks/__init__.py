"""What commands do, without their words and without printing.

Commands and the operators' view call it; of `ops` it imports `errors` alone.
"""
