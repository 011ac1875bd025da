"""Examples and settings of each command, which are printed below its options in `--help`.

The reference pages are made from them too. Used by `ops.command_line.lazy_group`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

EXAMPLES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "": (
            "jobtrail up --demo",
            "jobtrail tail -t 1",
            "jobtrail status -t 1 -k video 1",
        ),
        "up": (
            "jobtrail up",
            "jobtrail up --demo --port 0",
            "JOBTRAIL_REDIS_URL=redis://127.0.0.1:6379/0 jobtrail up",
        ),
        "env": ('eval "$(jobtrail env)"', "jobtrail env --json"),
        "token": (
            "jobtrail token -t 42",
            "jobtrail token -t 42 --jobs a1,a2 --ttl 1h",
            "jobtrail token -t 42 --scope ops --subject kim",
        ),
        "append": (
            "jobtrail append -t 42 events.jsonl",
            """echo '{"type":"done","id":"a1"}' | jobtrail append -t 42""",
        ),
        "status": ("jobtrail status -t 42 a1", "jobtrail status -t 1 -k video 7 --json"),
        "tail": (
            "jobtrail tail -t 42",
            "jobtrail tail -t 42 --from 0 --kind video --state failed",
            "jobtrail tail -t 42 --id a1 --type progress --json",
        ),
        "video encode": ("jobtrail video encode clip.mp4 -t 1 --id 7",),
        "roster import": ("jobtrail roster import students.xlsx -t 42",),
        "migrate": ("jobtrail migrate",),
        "consume": ("jobtrail consume status", "jobtrail consume rows"),
        "api": ("jobtrail api", "JOBTRAIL_API_PORT=0 jobtrail api"),
        "size": (
            "jobtrail size --tenants 200 --events-per-second 30 --viewers 1000",
            "jobtrail size --tenants 9 --events-per-second 2 --viewers 50 --json",
        ),
        "doctor": ("jobtrail doctor", "jobtrail doctor --json", "jobtrail doctor --legacy"),
        "lag": ("jobtrail lag", "jobtrail lag -t 42 --json"),
        "trim": ("jobtrail trim", "jobtrail trim -t 42"),
        "groups list": ("jobtrail groups list",),
        "groups deregister": ("jobtrail groups deregister audit",),
        "dead list": (
            "jobtrail dead list -t 42",
            "jobtrail dead list --reason not_json -n 20",
            "jobtrail dead list --type done --job-type excel",
        ),
        "dead show": ("jobtrail dead show -t 42 1767225600000-0",),
        "dead requeue": (
            "jobtrail dead requeue -t 42 1767225600000-0",
            "jobtrail dead requeue -t 42 --all --reason not_applied",
        ),
        "dead discard": ("jobtrail dead discard -t 42 --all --yes",),
        "replay": (
            "jobtrail replay status -t 42 --dry-run",
            "jobtrail replay rows --since 2026-01-01",
            "jobtrail replay status --reset",
        ),
        "verify": ("jobtrail verify status", "jobtrail verify rows -t 42"),
        "old-tables list": ("jobtrail old-tables list",),
        "old-tables build": ("jobtrail old-tables build --students academy_students",),
        "old-tables drop": ("jobtrail old-tables drop",),
    }
)
"""Command lines that work, by the words of their command."""

_REDIS, _DATABASE, _DIR = "REDIS_URL", "DATABASE_URL", "DATA_DIR"
_SETTINGS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "up": (
            *(_REDIS, _DATABASE, _DIR, "API_HOST", "API_PORT", "CORS_ORIGINS"),
            *("AUTH", "JWT_SECRET", "LOG_FORMAT"),
        ),
        "env": (_DIR,),
        "token": ("JWT_SECRET", _DIR),
        "append": (_REDIS, _DIR, "MAX_EVENT_BYTES", "STREAM_MAX_BYTES"),
        "status": (_REDIS, _DIR),
        "tail": (_REDIS, _DIR),
        "video encode": (_REDIS, _DIR),
        "roster import": (_REDIS, _DATABASE, _DIR, "ROSTER_PASSWORD"),
        "migrate": (_DATABASE, _DIR),
        "consume": (_REDIS, _DATABASE, "RECLAIM_IDLE_SECONDS", "STALLED_AFTER_SECONDS"),
        "api": (
            *(_REDIS, _DATABASE, "DATABASE_READ_URL", "API_HOST", "API_PORT"),
            *("CORS_ORIGINS", "AUTH", "JWT_SECRET", "JWKS"),
        ),
        "size": ("STREAM_KEEP_SECONDS", "ENDED_TTL_SECONDS", "HISTORY_KEEP_DAYS"),
        "doctor": (_REDIS, _DATABASE, "LIMITS"),
        "lag": (_REDIS, _DIR),
        "trim": (_REDIS, "STREAM_KEEP_SECONDS"),
        "groups": (_REDIS, _DATABASE, _DIR),
        "dead": (_REDIS, _DATABASE, _DIR, "DEAD_MAX_BYTES", "DEAD_KEEP_DAYS"),
        "replay": (_REDIS, _DATABASE, _DIR),
        "verify": (_REDIS, _DATABASE, _DIR),
        "old-tables": (_DATABASE, _DIR),
    }
)
"""Settings that matter most, without their prefix, by a command or by a group of commands."""

_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        _REDIS: "Redis; without both URLs, the running up's",
        _DATABASE: "PostgreSQL; without both URLs, the running up's",
        "DATABASE_READ_URL": "replica for lists, rows and history (none)",
        _DIR: "folder of jobtrail up (.jobtrail)",
        "API_HOST": "address of the API (127.0.0.1)",
        "API_PORT": "port of the API (8000; 0: a free one)",
        "CORS_ORIGINS": "other origins whose pages may read it (none)",
        "AUTH": "jwt, or dev for loopback only",
        "JWT_SECRET": "secret of tokens, at least 32 bytes",
        "JWKS": "public keys of tokens",
        "LOG_FORMAT": "json, or console as on a terminal",
        "MAX_EVENT_BYTES": "largest event (1048576)",
        "STREAM_MAX_BYTES": "size from which progress is dropped (none)",
        "ROSTER_PASSWORD": "first password of new accounts",
        "RECLAIM_IDLE_SECONDS": "when others take entries over (30)",
        "STALLED_AFTER_SECONDS": "silence that ends a job as failed (off)",
        "STREAM_KEEP_SECONDS": "age from which entries go (86400)",
        "ENDED_TTL_SECONDS": "age at which ended documents go (none)",
        "HISTORY_KEEP_DAYS": "age at which the history goes (none)",
        "DEAD_MAX_BYTES": "dead letters of one tenant (16777216)",
        "DEAD_KEEP_DAYS": "age at which dead letters go (30)",
        "LIMITS": "file with the replica limits",
    }
)


_OF_UP: Mapping[str, str] = MappingProxyType(
    {
        _REDIS: "Redis; without it an embedded one",
        _DATABASE: "PostgreSQL; without it an embedded one",
        _DIR: "folder of the embedded servers' data (.jobtrail)",
    }
)


def settings_of(command: str) -> Iterator[tuple[str, str]]:
    """Yield the variables that matter for a command, with their meaning in few words."""
    group = command.partition(" ")[0]
    for name in _SETTINGS.get(command) or _SETTINGS.get(group, ()):
        meaning = _OF_UP.get(name) if command == "up" else None
        yield f"JOBTRAIL_{name}", meaning or _MEANINGS[name]


def epilog_of(command: str) -> str | None:
    """Return what is printed below the options of a command; the group of all commands is ""."""
    lines = [f"  {example}" for example in EXAMPLES.get(command, ())]
    if lines:
        lines.insert(0, "Examples:")
    if not command:
        lines.append("Settings are environment variables: the help of each command lists its own.")
    settings = list(settings_of(command))
    if settings:
        longest = max(len(name) for name, _ in settings)
        lines += ["Settings (environment variables):"]
        lines += [f"  {name:<{longest}}  {meaning}" for name, meaning in settings]
    return "\n".join(lines) or None
