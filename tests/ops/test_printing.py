"""Output: text of others is escaped, and a failure to write is one line."""

from __future__ import annotations

import ast
import json
import os
import pty
import shlex
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.safe_text import bounded, visible, visible_json
from tests.support import forked
from tests.support.waiting import ENDING

ROOT = Path(__file__).parents[2]
FORGED = "\x1b[2J\x1b]0;title\x07\r\n[/nope][red] \x9b31m\u202e\u2066\u200b\u2028\ufeff\x7f"
ACTING = [char for char in FORGED if not (" " <= char <= "~")]


@pytest.mark.parametrize("char", [*ACTING, "\t", "\udcff", "\u3164", "\u00ad", "\U000e0041"])
def test_visible__what_acts_or_hides__is_escaped(char: str) -> None:
    shown = visible(f"a{char}b")
    assert char not in shown
    assert shown.startswith("a\\")
    assert shown.isascii()


@pytest.mark.parametrize("text", ["plain [/nope]", "한글 이름", "naïve – …", "日本\u3000語", "❤️"])
def test_visible__text_of_any_language__is_left(text: str) -> None:
    assert visible(text) == text


@given(st.text(st.characters(codec=None)))
def test_visible__any_text__has_no_control_format_or_surrogate(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    shown.encode()


@given(st.text(), st.booleans())
def test_visible_json__any_text__means_the_same(
    text: str,
    ascii_only: bool,  # noqa: FBT001 - an example of hypothesis
) -> None:
    raw = json.dumps({text: [text]}, ensure_ascii=False)
    shown = visible_json(raw, ascii_only=ascii_only)
    assert json.loads(shown) == {text: [text]}
    assert shown.isascii() or not ascii_only
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


def test_bounded() -> None:
    assert bounded("abc", 3) == "abc"
    assert bounded("abcd", 3) == "ab…"


WRITERS = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__", "typer.echo"}
FOREIGN_IMPORTS = {"rich", "click"}
MAY_WRITE = {
    "ops/printing.py",  # the one place
    "ops/cli.py",  # flushes what typer's own help wrote
    "ops/tasks/parallel.py",  # flushes what a share printed before its process ends
    "streams/logging_setup.py",  # logs go to standard error
    "streams/runtime/interrupts.py",  # the cursor is shown again
    "workers/roster/reader_process.py",  # standard output is a pipe to its parent
}


def _writes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in WRITERS:
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield "print"
        elif isinstance(node, ast.ImportFrom) and node.module in {
            "rich",
            "rich.console",
            "rich.table",
            "rich.markup",
        }:
            yield node.module


def test_only_one_place_prints() -> None:
    """Other modules would print text of others without escaping it: use ops/printing.py."""
    found = {
        f"{path.relative_to(ROOT)}: {', '.join(sorted(set(writes)))}"
        for folder in ("ops", "streams", "consumers", "api", "projections", "sql", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if (writes := list(_writes(ast.parse(path.read_text()))))
        and str(path.relative_to(ROOT)) not in MAY_WRITE
    }
    assert found == set()


def run(
    words: str, redirections: str = "", stdin: bytes = b"", /, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command, in a shell if that is to redirect or close its standard streams."""
    inherited = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    environ = {**inherited, "JOBTRAIL_DATA_DIR": "/nonexistent", **environ}
    if not redirections:
        return forked.run(shlex.split(words), environ, stdin)
    return subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m ops {words} {redirections}'],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        env=environ,
        timeout=ENDING,
        check=False,
    )


@pytest.fixture
def hostile(redis_url: str, redis_client: redis.Redis) -> str:
    """A Redis in which every text that others write contains escape sequences."""
    event = json.dumps({"type": "failed", "id": "a1", "error": FORGED, "labels": {"k": FORGED}})
    redis_client.xadd("tenant:1:events", {"event": event})
    redis_client.xadd("tenant:1:events", {"event": FORGED.encode()})
    redis_client.xadd("tenant:[/nope]:events", {"event": event})
    redis_client.xadd(f"tenant:{FORGED}:events", {"event": event})
    document = {"status": "FAILED", "error_message": FORGED, "attempt": 1, FORGED: FORGED}
    redis_client.set("tenant:1:job:a1:status", json.dumps(document, ensure_ascii=False))
    redis_client.set("tenant:1:job:bad:status", "[1]")
    letter: dict[Any, Any] = dict.fromkeys(("event", "group", "reason", "detail"), FORGED)
    letter |= {"entry_id": "1-1", "deliveries": "1"}
    redis_client.xadd("tenant:1:dead", letter)
    redis_client.sadd("jobtrail:groups", "[/nope]", FORGED)
    return redis_url


def harmless(text: str) -> bool:
    return not [c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs"}]


COMMANDS = [
    "status --tenant 1 a1",
    "lag",
    "trim --all",
    "dead list",
    "groups list",
    "tail --tenant 1 --from 0 | head -2",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_command__forged_text__is_shown_escaped(words: str, hostile: str) -> None:
    words, _, pipe = words.partition(" | ")
    for json_word in ("", " --json"):
        ran = run(words + json_word, f"| {pipe}" if pipe else "", JOBTRAIL_REDIS_URL=hostile)
        out = ran.stdout.decode()
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr == b""
        assert harmless(out), out
        assert "\\x1b" in out or "\\u001b" in out or "nope" in out
        if json_word:
            for line in out.splitlines():
                json.loads(line)


def test_status__document_that_is_no_object__is_one_line(hostile: str) -> None:
    ran = run("status --tenant 1 bad", JOBTRAIL_REDIS_URL=hostile)
    assert ran.returncode == 1
    assert ran.stderr.count(b"\n") == 1
    assert b"not a JSON object" in ran.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict"])
def test_command__terminal_of_another_encoding__prints(encoding: str, hostile: str) -> None:
    for words in ("lag", "status --tenant 1 a1", "status --tenant 1 a1 --json"):
        ran = run(words, JOBTRAIL_REDIS_URL=hostile, PYTHONIOENCODING=encoding, LC_ALL="C")
        assert (ran.returncode, ran.stderr) == (0, b"")
        if "json" in words:
            assert (
                json.loads(ran.stdout.decode(encoding.partition(":")[0]))["error_message"] == FORGED
            )


@pytest.mark.parametrize("words", ["lag", "--help", "append --tenant 1"])
@pytest.mark.parametrize(
    "redirection", [">/dev/full", ">&-", "2>&-", "<&-", "<&- >&- 2>&-", "| true"]
)
def test_command__streams_closed_or_full__is_one_line_at_most(
    words: str, redirection: str, redis_url: str
) -> None:
    ran = run(words, redirection, b'{"type":"done","id":"a"}\n', JOBTRAIL_REDIS_URL=redis_url)
    assert b"Traceback" not in ran.stderr
    assert ran.stderr.count(b"\n") <= 1
    if redirection == ">/dev/full":
        assert ran.returncode == 1
        assert b"No space left on device" in ran.stderr
    if redirection == "<&-" and "append" in words:
        assert b"standard input is closed" in ran.stderr


@pytest.mark.parametrize(
    ("given", "appended", "complaint"),
    [
        (b'\xef\xbb\xbf{"type":"done","id":"a"}\r\n\r\n{"type":"done","id":"b"}', 2, b""),
        (b'\n  \n{"type":"done","id":"a"}\n\n', 1, b""),
        (b'{"type":"done","id":"a"}\n\n{"type":"done","id":"\xff"}\n', 0, b"line 3: "),
        (b'\xff\xfe{\x00"\x00', 0, b"line 1: "),
        (b'{"type":"done","id":"a","x":"' + b"y" * 3_000_000 + b'"}\n{}\n', 0, b"line 1: "),
    ],
    ids=["bom-crlf-no-newline", "blank", "not-utf8", "utf16", "too-long"],
)
def test_append__odd_lines(given: bytes, appended: int, complaint: bytes, redis_url: str) -> None:
    ran = run("append --tenant 1 --json", "", given, JOBTRAIL_REDIS_URL=redis_url)
    assert json.loads(ran.stdout)["appended"] == appended
    assert complaint in ran.stderr
    assert (ran.returncode == 0) == (not complaint)
    assert b"Traceback" not in ran.stderr


def test_unknown_variable__is_named_with_the_nearest_known_one(redis_url: str) -> None:
    ran = run("lag --json", JOBTRAIL_REDIS_URL=redis_url, JOBTRAIL_RECLAIM_IDLE="1")
    assert ran.returncode == 0
    assert json.loads(ran.stdout) == []
    assert b"JOBTRAIL_RECLAIM_IDLE is not a setting: did you mean" in ran.stderr
    assert b"JOBTRAIL_RECLAIM_IDLE_SECONDS?" in ran.stderr


def test_version() -> None:
    assert run("--version").stdout.startswith(b"jobtrail ")


@pytest.mark.parametrize(
    ("line", "completed"),
    [("la", b"lag"), ("replay r", b"rows"), ("consume st", b"status"), ("tail -k vi", b"video")],
)
def test_completion_completes_commands_and_values(line: str, completed: bytes) -> None:
    words = f"jobtrail {line}"
    last = str(len(words.split()) - 1)
    ran = run("", _JOBTRAIL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=last)
    assert ran.stdout == completed + b"\n"


def on_terminal(words: str, **environ: str) -> bytes:
    """Run a command on a terminal of 80 columns, and return what it shows there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    inherited = {
        name: text
        for name, text in os.environ.items()
        if "JOBTRAIL" not in name and "COLOR" not in name and name not in ("COLUMNS", "CI")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", *words.split()],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={**inherited, "TERM": "xterm", **environ},
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:  # EIO: it has ended
        while chunk := terminal.read(65_536):
            shown += chunk
    process.wait(ENDING)
    return shown


@pytest.mark.parametrize("words", ["status --tenant 1 a1", "--help"])
def test_terminal__is_in_colour_unless_no_color_is_set(words: str, hostile: str) -> None:
    assert b"\x1b[" in on_terminal(words, JOBTRAIL_REDIS_URL=hostile)
    assert b"\x1b" not in on_terminal(words, JOBTRAIL_REDIS_URL=hostile, NO_COLOR="1")


@pytest.mark.parametrize("words", ["dead list", "groups list", "trim --all"])
def test_terminal_of_80_columns__no_line_is_longer(
    words: str, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.sadd("jobtrail:groups", "audit")
    redis_client.xadd("tenant:a-tenant-of-a-long-name:events", {"event": b"x"})
    letter: dict[Any, Any] = {"entry_id": "1795732580226-12", "group": "status", "deliveries": "1"}
    letter |= {"reason": "invalid_entry_id", "detail": "words that are told " * 9, "event": b"x"}
    redis_client.xadd("tenant:a-tenant-of-a-long-name:dead", letter)
    shown = on_terminal(words, JOBTRAIL_REDIS_URL=redis_url, NO_COLOR="1").decode()
    assert shown
    assert max(map(len, shown.splitlines())) <= 80


def test_reader_that_has_seen_enough__ends_a_command_without_a_word(hostile: str) -> None:
    for words in ("dead list", "lag --all", "status --tenant 1 a1", "tail --tenant 1 --from 0"):
        ran = run(words, "| head -c 1", JOBTRAIL_REDIS_URL=hostile)
        assert (len(ran.stdout), ran.stderr) == (1, b"")


@pytest.mark.parametrize("name", ["missing.mp4", ".", "\x01\x1b.mp4"])
def test_video_encode__file_that_cannot_be_read__reports_no_job(
    name: str, redis_url: str, redis_client: redis.Redis
) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "ops", "video", "encode", name, "--tenant", "1"],
        env={**os.environ, "JOBTRAIL_REDIS_URL": redis_url},
        cwd=ROOT,
        capture_output=True,
        timeout=ENDING,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.count(b"\n") == 1
    assert harmless(ran.stderr.decode())
    assert redis_client.keys() == []
