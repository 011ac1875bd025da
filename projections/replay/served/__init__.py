"""The data that the two projections serve, read as facts by name to be compared with the fold.

Facts are the fields that readers see. Their provenances (the entries that they come from) are facts
too, with the prefix `fold.` in documents and `positions.` in rows. Both projections are read in
batches, and without locks. Repair, reset and verification use the room, which writes nothing.
"""
