"""ffmpeg as a child process: limits, arguments, progress, and what it reports of a source.

Of the rest of `workers.video`, only `error` is imported here. Used by `workers.video`.
"""
