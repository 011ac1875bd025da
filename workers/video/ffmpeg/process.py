"""Runs of ffmpeg that cannot hang, block on a full pipe, or go on after `run` has returned.

Only SIGKILL of the Python process leaves ffmpeg running. ffmpeg is taken from PATH, or from the
imageio-ffmpeg wheel. Durations are in seconds. Used by the other modules of `workers.video`, and by
`ops.tasks.demo`.
"""

from __future__ import annotations

import codecs
import math
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from workers.confinement import MIB, Caps, clean_environ, confined

STALL_SECONDS = 120.0
"""The time without progress after which ffmpeg is ended."""
_EXIT_POLL_SECONDS = 0.01
"""The pause between two looks whether a process that has closed its pipes has ended."""
_LINE_LENGTH = 16 * MIB
"""The most characters of a line of standard output; ffprobe writes a field of metadata as one."""
_TAIL_BYTES = 256 * 1024
"""The number of bytes that are stored of standard error, from its end."""
_REASON_LENGTH = 300
"""The most characters of a reason."""

# `[mov @ 0x55..] `, once or more: the component of ffmpeg that writes the line.
_COMPONENT = re.compile(r"^(\[[^\]]+ @ 0x[0-9a-f]+\] )+")
# Lines that ffmpeg writes for every failure; the reason is in other lines.
_NOISE = re.compile(
    r"Error opening input files?\b|Error opening output files?\b|Conversion failed!"
    r"|Last message repeated|At least one output file|Exiting normally"
)

# ffmpeg may go on after such a line, and end with success but without some pictures, or never.
_OUT_OF_MEMORY = re.compile(
    r"Cannot allocate memory|malloc of size \d+ failed|pthread_create\(\) failed"
)
# ffmpeg's exit status after any signal that it catches, SIGXCPU among them.
_CAUGHT_A_SIGNAL = 255
_NEAR_LIMIT = {_CAUGHT_A_SIGNAL: 0.5, -signal.SIGKILL: 1.0}
"""The share of the limit from which a process that a signal ended is taken to have reached it.

At the limit it gets SIGXCPU, and SIGKILL only if it goes on after that. One that is killed before
is the victim of something else, such as a lack of memory; another try may succeed.

The kernel counts the time for the limit in clock ticks. On a busy machine these may be more than
the time that the process used, which it reports exactly.
"""

Argument = str | Path
LineSink = Callable[[str], bool]
"""Takes a line of standard output, without its line break; returns True if it shows progress."""


class FfmpegError(RuntimeError):
    """ffmpeg failed; `stderr` is the end of its standard error."""

    code = "ffmpeg"
    """The `code` of the event that reports the failure."""

    def __init__(self, message: str, *, stderr: str = "") -> None:
        super().__init__(message)
        self.stderr = stderr


class FfmpegMissing(FfmpegError):
    """ffmpeg is not installed; the message says what to install."""

    code = "ffmpeg_missing"


class FfmpegFailed(FfmpegError):
    """ffmpeg ended with an error; the message is its reason, on one line."""


class FfmpegCapped(FfmpegError):
    """ffmpeg exceeded its limit on memory, time or file size, because of the source."""

    code = "too_large"


class FfmpegStalled(FfmpegError):
    """ffmpeg made no progress for too long and was ended; another try may succeed."""

    code = "stalled"


def find_ffmpeg() -> str:
    """Return the path of ffmpeg: on PATH, or in the imageio-ffmpeg wheel.

    Raises:
        FfmpegMissing: there is neither.
    """
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - an optional extra, not needed beside a real ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise FfmpegMissing(
            "no ffmpeg found: install ffmpeg so that it is on PATH, or pip install imageio-ffmpeg"
        ) from None


def find_ffprobe() -> str | None:
    """Return the path of ffprobe if it is on PATH, or None; the wheel does not contain it."""
    return shutil.which("ffprobe")


def ffmpeg_command(*arguments: Argument, loglevel: str = "error") -> list[Argument]:
    """Return a command line of ffmpeg, which does not read standard input."""
    return [find_ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", loglevel, *arguments]


def run(
    command: Sequence[Argument],
    *,
    cwd: Path | None = None,
    on_line: LineSink = lambda _: True,
    stall_seconds: float = STALL_SECONDS,
    caps: Caps | None = None,
) -> str:
    """Run ffmpeg or ffprobe to its end, and return the end of its standard error.

    The process has a clean environment. It has ended when this function returns or raises, also
    with KeyboardInterrupt. If it is ended early, so are processes that it started: ffmpeg on PATH
    may be a script.

    Args:
        command: the program and its arguments.
        cwd: the working directory; None for that of this process.
        on_line: called with each line of standard output that ends with a line break.
        stall_seconds: the seconds after which the process is ended if no line showed progress.
        caps: the limits of the process; a command that reads a source must have them.

    Raises:
        FfmpegFailed: it ended with an error.
        FfmpegCapped: it exceeded `caps`, or wrote a line of more than `_LINE_LENGTH` characters.
        FfmpegStalled: it was ended because it made no progress.
        OSError: the program does not exist, or the system refuses another process.
    """
    tail = _Tail(caps)
    with _child(confined(command, caps) if caps else command, cwd) as child:
        _pump(child, {"stdout": _Lines(on_line), "stderr": tail}, stall_seconds)
        end = _wait(child, stall_seconds)
    if caps and (beyond := _beyond(caps, end, tail.text())):
        raise FfmpegCapped(beyond, stderr=tail.text())
    if end.status != 0:
        raise FfmpegFailed(reason(tail.text()) or _ending(end.status), stderr=tail.text())
    return tail.text()


def reason(stderr: str) -> str:
    """Return the reason in ffmpeg's standard error as one short line, or an empty text."""
    lines = (_COMPONENT.sub("", line.strip()) for line in stderr.splitlines())
    # "Error opening input: Invalid data" has a reason, unlike "Error opening input file x".
    texts = (line.removeprefix("Error opening input: ") for line in lines)
    meaningful = dict.fromkeys(line for line in texts if line and not _NOISE.match(line))
    return printable("; ".join(list(meaningful)[-2:]))[:_REASON_LENGTH]


def printable(text: str) -> str:
    """Replace control characters and lone surrogates, which a one-line message cannot have."""
    return "".join(char if char.isprintable() else "?" for char in text)


def make_clip(path: Path, seconds: float, size: str = "1280x720") -> Path:
    """Make a clip with a moving test picture and a tone of 440 Hz.

    Raises:
        FfmpegError: there is no ffmpeg, or it could not write the clip.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = f"testsrc2=size={size}:rate=25:duration={seconds}"
    tone = f"sine=frequency=440:duration={seconds}"
    sources = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone)
    coding = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac")
    # With the index in front, players start at once, and a truncated copy is readable.
    muxing = ("-movflags", "+faststart", "-f", "mp4", "-y", f"file:{path}")
    run(ffmpeg_command(*sources, *coding, *muxing))
    return path


class _Lines:
    """The lines of standard output, passed to a function."""

    def __init__(self, on_line: LineSink) -> None:
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def __call__(self, chunk: bytes) -> bool:
        *lines, self._rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        alive = False
        for line in lines:
            alive |= self._on_line(line)
        if len(self._rest) > _LINE_LENGTH:
            raise FfmpegCapped(f"has a field of metadata of more than {_LINE_LENGTH // MIB} MiB")
        return alive


class _Tail:
    """The end of standard error; its lines do not count as progress."""

    def __init__(self, caps: Caps | None) -> None:
        self._caps = caps
        self._kept = bytearray()

    def __call__(self, chunk: bytes) -> bool:
        self._kept += chunk
        del self._kept[:-_TAIL_BYTES]
        if self._caps and _OUT_OF_MEMORY.search(chunk.decode("utf-8", "replace")):
            raise FfmpegCapped(_too_much_memory(self._caps), stderr=self.text())
        return False

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


@contextmanager
def _child(command: Sequence[Argument], cwd: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(  # noqa: S603 - a list, no shell; paths are written as file:…
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**clean_environ(), "AV_LOG_FORCE_NOCOLOR": "1"},
        # A terminal's Ctrl-C must not reach ffmpeg, which would end with a misleading error.
        process_group=0,
    )
    # `with child` waits without limit, so the process is ended inside it.
    with child:
        try:
            yield child
        finally:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started, unless it has ended and was waited for."""
    if child.returncode is not None:
        return
    # All output is discarded, so SIGKILL is sent at once: a second Ctrl-C finds nothing left to do.
    # The group is its own as long as nobody has waited for the process.
    with suppress(ProcessLookupError, PermissionError):  # macOS: only a zombie is left of it
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _pump(
    child: subprocess.Popen[bytes],
    sinks: dict[str, Callable[[bytes], bool]],
    stall_seconds: float,
) -> None:
    """Read both pipes to their ends, and raise if there is no progress for `stall_seconds`."""
    with selectors.DefaultSelector() as selector:
        for name, sink in sinks.items():
            selector.register(getattr(child, name), selectors.EVENT_READ, sink)
        alive_at = time.monotonic()
        while selector.get_map():
            for key, _ in selector.select(max(0.0, alive_at + stall_seconds - time.monotonic())):
                if not (chunk := os.read(key.fd, 65_536)):
                    selector.unregister(key.fileobj)
                    continue
                before = time.monotonic()
                alive = key.data(chunk)
                after = time.monotonic()
                # Time in which the callback ran is no time without progress.
                alive_at = after if alive else alive_at + after - before
            if time.monotonic() - alive_at >= stall_seconds and selector.get_map():
                raise _stalled(stall_seconds)


class _End(NamedTuple):
    """The end of a process."""

    status: int
    """The exit status, or the number of the signal that ended it, negated."""
    cpu_seconds: float


def _wait(child: subprocess.Popen[bytes], seconds: float) -> _End:
    """Wait for the end of a process that has closed both pipes.

    `Popen.wait` discards the processor time, and the total of all child processes also has that of
    runs in other threads.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            pid, status, used = os.wait4(child.pid, os.WNOHANG)
        except ChildProcessError:  # the application waits for all its child processes
            return _End(child.wait(), 0.0)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return _End(child.returncode, used.ru_utime + used.ru_stime)
        time.sleep(_EXIT_POLL_SECONDS)
    raise _stalled(seconds)


def _stalled(seconds: float) -> FfmpegStalled:
    return FfmpegStalled(f"ffmpeg made no progress for {seconds:g} s and was ended")


def _beyond(caps: Caps, end: _End, stderr: str) -> str | None:
    """Return the reason if ffmpeg exceeded a limit, or None."""
    if _OUT_OF_MEMORY.search(stderr):
        return _too_much_memory(caps)
    share = _NEAR_LIMIT.get(end.status, math.inf)
    timed = end.cpu_seconds >= share * caps.cpu_seconds
    if timed or end.status == -signal.SIGXCPU:  # which only the limit sends
        return f"needs more than {caps.cpu_seconds} s of processor time"
    if end.status == -signal.SIGXFSZ or (end.status and "File too large" in stderr):
        return f"needs a file of more than {caps.file_bytes // MIB} MiB"
    return None


def _too_much_memory(caps: Caps) -> str:
    return f"needs more than {caps.memory_bytes // MIB} MiB of memory to decode"


def _ending(status: int) -> str:
    if status < 0:
        return f"ffmpeg was ended by signal {-status}"
    return f"ffmpeg ended with code {status}"
