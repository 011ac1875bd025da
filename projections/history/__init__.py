"""The durable history: every distinct event as it came, in partitions of a week.

Events come from the writer of rows. The room must not import rows, documents or readers.
"""
