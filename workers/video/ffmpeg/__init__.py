"""ffmpeg as a child process: its limits, its arguments, what it reports and measures.

Of the video worker, it may import the error alone.
"""
