"""ffmpeg as a child process: limits, arguments, progress, and what it reports of a source.

Of `workers.video`, nothing but `error` is imported here.
"""
