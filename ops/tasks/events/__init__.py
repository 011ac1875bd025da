"""Events on the command line: appending lines of them, following a stream, showing entries."""
