"""The command line and what only operators need."""
