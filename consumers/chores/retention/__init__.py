"""Retention: entries leave a stream once no group and no history needs them there.

An entry is trimmed when it is older than the age limit, every *registered* group has acknowledged
it and all entries before it, and the group of the history has done so too, which acknowledges after
its commit (an entry that it could not store is a dead letter). A group *holds back* a stream if
trimming of the stream stops at an entry that is old enough but that the group has not acknowledged.
A registered group that has never read a stream holds back all of it: an operator must deregister a
group that is not used any more.

`chore` is the periodic work; `trimming` and `registration` also serve `jobtrail trim`,
`jobtrail groups` and the doctor.
"""
