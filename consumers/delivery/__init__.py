"""What Redis keeps of delivery: the ready queue, consumer groups, and how far each has come.

Only `groups` sends commands on consumer groups. The room knows no projection and no other room of
the consumers.
"""
