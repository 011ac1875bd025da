"""The reference video worker: a file becomes HLS, and every step is reported.

    encoder: checks -> workspace -> rendering (hls -> ffmpeg) -> workspace (publishing)

`encoder.encode` is the entry point; `steps` reports. `ffmpeg` runs the program and parses its
output. Nothing here connects to servers (the caller passes a reporter) or knows the command line.
Used by `ops.tasks.video_encoding` and `ops.tasks.demo`.
"""
