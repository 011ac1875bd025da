"""The history: every distinct event with its bytes, in the table `job_events`.

    entries -> copy_writer -> COPY into the partition of their week (`partitions`)
                           -> writer, which merges events that may be held already

Entries come from the writer of rows; `retention` drops old weeks. This package must not import
rows, documents or readers.
"""
