"""The reference video worker: a file becomes HLS, and every step of it is reported.

`encoder` is its entrance; `ffmpeg` runs and reads the program. Nothing here knows the servers or
the command line.
"""
