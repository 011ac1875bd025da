"""Every event that was ever appended, read from the history and from the streams.

    streams -> stream_pages -> missing_entries -> stream_tail (temporary table)
    history + tail -> history_walk -> parts, one job after the other

`Sources` is what other modules use. Replays and verification read events here only. The room must
not import a writer of documents or rows, nor what is served.
"""
