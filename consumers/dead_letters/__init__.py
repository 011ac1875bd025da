"""Dead letters: which entry is at fault, how it is buried, and what operators do with it.

Entries come from the loop, and leave by a requeue or a discard. The room knows no projection.
"""
