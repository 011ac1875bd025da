"""One consumer's loop: take ready tenants, read ahead, settle a batch, stop.

Entries come from `consumers.delivery` and go to the writer that the composition root passed in:
the room must not import a projection's writer.
"""
