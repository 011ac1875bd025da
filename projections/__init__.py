"""What is derived from the log: state and fold (pure), Redis keys, PostgreSQL rows, readers."""
