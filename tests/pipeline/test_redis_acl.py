"""The users of `deploy/redis/users.acl`: each can do its work, and nothing else.

Whatever the server refuses is in its ACL log, so an empty log says that nothing was missing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from consumers.dead_letters.store import DeadLetterStore
from ops.operator_view import RedisOperatorView
from streams.appender import AsyncEventAppender, EventAppender
from streams.connection import connect, connect_async
from streams.reporter import Reporter
from streams.wire import ask
from tests.pipeline.conftest import Start
from tests.support.debian import debian_command
from tests.support.event_stream import Stream
from tests.support.groups import entries, settled
from tests.support.replication import OpenRedis
from tests.support.servers import server_folder
from tests.support.waiting import eventually

FILE = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
CONFIGURATION = FILE.with_name("redis.conf")
PLACEHOLDER = "#REPLACE-WITH-THE-SHA256-OF-ITS-PASSWORD"
USERS = [line.split()[1] for line in FILE.read_text().splitlines()][1:]

Url = Callable[[str], str]
"""Gives the server's URL for a user."""


def rules() -> str:
    """Give the file with passwords, as a deployment writes them into it: the user's own name."""
    lines = []
    for line in FILE.read_text().splitlines():
        digest = hashlib.sha256(line.split()[1].encode()).hexdigest()
        lines.append(line.replace(PLACEHOLDER, f"#{digest}"))
    return "\n".join(lines) + "\n"


class Shipped(OpenRedis):
    """A server with the configuration and the users that are shipped, and one administrator."""

    @property
    def url(self) -> str:
        """The administrator's URL of the server."""
        return self.url_of("admin")

    def url_of(self, user: str) -> str:
        """Return the URL for a user."""
        return f"redis://{user}:{user}@127.0.0.1:{self.port}/0"

    def _argv(self, port: int) -> list[str]:
        users, file = self.data_dir / "users.acl", self.data_dir / "redis.conf"
        users.write_text(f"{rules()}user admin on >admin ~* &* +@all\n")
        file.write_text(CONFIGURATION.read_text().replace("/etc/redis/users.acl", str(users)))
        return [*self._program, str(file), "--port", str(port), "--dir", str(self.data_dir)]


ON_BOTH = pytest.mark.parametrize("server", ["embedded", "debian"], indirect=True)
"""Runs a test on Debian's Redis 7.0 too, which knows fewer commands."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Shipped]:
    """A server with these users; the test itself is the administrator, to look at everything."""
    older = getattr(request, "param", "embedded") == "debian"
    program = debian_command("redis-server") if older else ()
    with server_folder() as folder, Shipped(folder, program=program) as server:
        yield server


@pytest.fixture
def client(server: Shipped) -> Iterator[redis.Redis]:
    with connect(server.url) as client:
        yield client


@pytest.fixture
def url(server: Shipped) -> Url:
    return server.url_of


def refused(client: redis.Redis) -> list[tuple[str, str, str]]:
    """Give what the server refused: who, why and what."""
    log: Any = client.acl_log()
    return [(row["username"], row["reason"], row["object"]) for row in log]


@ON_BOTH
def test_file_as_it_is_shipped_lets_nobody_in(server: Shipped, client: redis.Redis) -> None:
    """Its placeholders are no passwords: the server refuses to load it."""
    (server.data_dir / "users.acl").write_text(FILE.read_text())
    with pytest.raises(redis.ResponseError, match="password hash"):
        client.acl_load()


@ON_BOTH
def test_file_with_passwords_is_loaded_and_closes_the_default_user(server: Shipped) -> None:
    anybody = connect(f"redis://127.0.0.1:{server.port}/0")
    with anybody, pytest.raises(redis.AuthenticationError):
        anybody.ping()
    for user in USERS:
        with connect(server.url_of(user)) as client:
            assert client.ping()


@ON_BOTH
def test_configuration_takes_the_largest_event_and_no_larger_one_by_far(
    client: redis.Redis,
) -> None:
    EventAppender(client).append("42", {"type": "done", "id": "a1", "result": {"x": "y" * 10**6}})
    with pytest.raises((redis.ResponseError, redis.ConnectionError)):
        client.xadd("tenant:42:events", {"event": b"x" * 20_000_000})


@ON_BOTH
def test_all_pieces_do_their_work_under_their_users(
    start: Start, url: Url, client: redis.Redis, database_url: str
) -> None:
    away = {"database_url": database_url, "reclaim_idle_seconds": "0.2"}
    consumers = {"redis_url": url("jobtrail-consumer"), **away}
    for group in ("status", "rows"):
        start("consume", group, **consumers, stalled_after_seconds="3600", history_keep_days="30")
    api = _address(
        start(
            "api",
            redis_url=url("jobtrail-api"),
            database_url=database_url,
            auth="dev",
            api_port="0",
        )
    )
    reporter = Reporter.from_url(url("jobtrail-worker"))
    with reporter.job("a1", tenant="42") as job:
        job.progress("parsing", percent=10)
        eventually(lambda: _get(api, "a1", "42")["status"] == "PROCESSING", timeout=60)
        with Stream(api, "/api/v1/jobs/a1/progress/events?tenant=42") as stream:
            assert _status(stream) == "PROCESSING"
            job.done({"rows": 5})
            assert _status(stream) == "DONE"
    assert _get(api, "a1", "42", after="1-0")["status"] == "DONE"
    with Stream(api, "/api/v1/events?tenant=42") as stream:
        assert _status(stream) == "DONE"
    client.xadd("tenant:7:events", {"event": b'{"type":"done","id":"raw"}'})
    client.xadd("tenant:7:events", {"event": b"nonsense"})
    eventually(lambda: client.xlen("tenant:7:dead") == 1, timeout=60)
    client.xgroup_destroy("tenant:7:events", "rows")
    client.xadd("tenant:7:events", {"event": b'{"type":"done","id":"healed"}'})
    eventually(lambda: settled(client, "7", "status", "rows"), timeout=60)
    eventually(lambda: settled(client, "42", "status", "rows"), timeout=60)
    assert client.exists("jobtrail:sweeper", "jobtrail:retention") == 2
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (3,)
    assert refused(client) == []


@ON_BOTH
def test_worker_appends_as_it_likes(url: Url, client: redis.Redis) -> None:
    """In one, in many, durably and over asyncio."""
    with connect(url("jobtrail-worker")) as mine:
        appender = EventAppender(mine)
        appender.append("42", {"type": "done", "id": "a1"}, durable=True)
        appender.append_many(("42", {"type": "done", "id": f"b{n}"}) for n in range(3))

    async def append() -> None:
        asking = connect_async(url("jobtrail-worker"))
        await AsyncEventAppender(asking).append("42", {"type": "done", "id": "c1"}, durable=True)
        await asking.aclose()

    asyncio.run(append())
    assert len(entries(client, "tenant:42:events")) == 5
    assert refused(client) == []


@ON_BOTH
def test_worker_that_sheds_has_the_user_for_it(url: Url, client: redis.Redis) -> None:
    with connect(url("jobtrail-worker-shedding")) as mine:
        roomy, full = (EventAppender(mine, max_stream_bytes=size) for size in (10**6, 1))
        roomy.append_many(("42", {"type": "progress", "id": "a1"}) for _ in range(1_200))
        full.append("42", {"type": "progress", "id": "a1"})
        full.append("42", {"type": "done", "id": "a1"}, durable=True)
    assert client.xlen("tenant:42:events") == 1_201
    assert client.hget("jobtrail:shed", "42") == b"1"
    assert refused(client) == []


def test_operators_commands_work(
    start: Start, url: Url, client: redis.Redis, database_url: str
) -> None:
    servers = {"redis_url": url("jobtrail-ops"), "database_url": database_url}
    for group in ("status", "rows"):
        start("consume", group, redis_url=url("jobtrail-consumer"), database_url=database_url)
    with connect(url("jobtrail-worker")) as worker:
        EventAppender(worker).append("42", {"type": "done", "id": "a1", "result": {}})
    client.xadd("tenant:42:events", {"event": b'{"type":"no such","id":"a2"}'})
    eventually(lambda: client.xlen("tenant:42:dead") == 1, timeout=60)
    eventually(lambda: settled(client, "42", "status", "rows"), timeout=60)
    for words in (
        ("lag",),
        ("status", "--tenant", "42", "a1"),
        ("dead", "list"),
        ("dead", "requeue", "--tenant", "42", "--all"),
        ("trim",),
        ("groups", "list"),
        ("doctor",),
        ("replay", "status"),
        ("replay", "status", "--reset"),
        ("verify", "status"),
        ("verify", "rows"),
    ):
        running = start(*words, **servers)
        running.wait(120)
        # The doctor also speaks of what is no matter of users: an empty group, a slow disk.
        assert running.returncode in ((0, 1) if words == ("doctor",) else (0,)), words
        assert refused(client) == [], words


def test_console_shows_delivery_and_requeues_dead_letters(
    start: Start, url: Url, client: redis.Redis
) -> None:
    start("consume", "status", redis_url=url("jobtrail-consumer"))
    client.xadd("tenant:42:events", {"event": b"nonsense"})
    eventually(lambda: client.xlen("tenant:42:dead") == 1, timeout=60)
    eventually(lambda: client.llen("jobtrail:samples"), timeout=60)
    with connect(url("jobtrail-console")) as mine:
        desk = RedisOperatorView(mine, DeadLetterStore(mine))
        assert desk.samples()["at"]
        assert len(desk.consumers()) == 1
        desk.health()
        assert desk.day_samples()["at"]
        assert desk.dead_tenants() == ["42"]
        desk.busy_tenants(10)
        desk.late_tenants()
        desk.issues()
        desk.tenant_minutes()
        assert desk.used_bytes()
        (facts,) = desk.tenants(["42"])
        assert facts is not None
        assert facts["stream"]["bytes"]
        (letter,) = DeadLetterStore(mine).letters("42")
        assert desk.dead_letters.letter("42", letter.name)
        assert desk.dead_letters.requeue("42", letter.name)
        assert not desk.dead_letters.discard("42", letter.name)
    assert refused(client) == []


READS_NOTHING = [
    ("GET", "tenant:42:job:a1:status"),
    ("XRANGE", "tenant:42:events", "-", "+"),
    ("XREAD", "STREAMS", "tenant:42:events", "0"),
    ("SCAN", "0"),
    ("SUBSCRIBE", "tenant:42:feed"),
    ("SMEMBERS", "jobtrail:groups"),
    ("CLIENT", "TRACKING", "ON", "BCAST"),  # tells the names of all keys that change
]
DESTROYS_NOTHING = [
    ("FLUSHALL",),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("KEYS", "*"),
    ("SHUTDOWN",),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("DEBUG", "SLEEP", "0"),
    ("MONITOR",),
    ("CLIENT", "KILL", "ID", "1"),
    ("CLIENT", "PAUSE", "1"),
    ("FUNCTION", "FLUSH"),
    ("FUNCTION", "DELETE", "mine"),
    ("SCRIPT", "FLUSH"),
]
WRITES_NO_DOCUMENT = [
    ("SET", "tenant:42:job:a1:status", "{}"),
    ("DEL", "tenant:42:events"),
    ("XTRIM", "tenant:42:events", "MAXLEN", "0"),
    ("XGROUP", "DESTROY", "tenant:42:events", "rows"),
    ("PUBLISH", "tenant:42:feed", "1 job:a1"),
    ("EVAL", "return 1", "0"),
]
REPLACES_NOTHING = [
    ("SET", "tenant:42:events", "x"),
    ("HINCRBY", "tenant:42:events", "a", "1"),
    ("ZADD", "tenant:42:events", "1", "a"),
    ("SET", "jobtrail:ready:status", "x"),
    ("XADD", "jobtrail:ready:status", "*", "a", "b"),
    ("SET", "jobtrail:shed", "x"),
]
"""Each destroys what other processes need: a stream, a ready queue, a count."""
FORBIDDEN = {
    "jobtrail-worker": [
        *READS_NOTHING,
        *WRITES_NO_DOCUMENT,
        *DESTROYS_NOTHING,
        ("XADD", "tenant:42:dead", "*", "a", "b"),
        ("XADD", "jobtrail:ready:status", "*", "a", "b"),
        ("ZADD", "jobtrail:leased:status", "1", "42"),
        ("ZADD", "tenant:42:feed", "1", "job:a1"),
        ("EVALSHA", "0" * 40, "0"),
    ],
    "jobtrail-worker-shedding": [
        *READS_NOTHING,
        *WRITES_NO_DOCUMENT,
        *DESTROYS_NOTHING,
        ("GET", "tenant:42:job:a1:progress"),
        ("SET", "tenant:42:job:a1:progress", "x"),
        ("HGETALL", "jobtrail:shed"),
        *REPLACES_NOTHING,
    ],
    "jobtrail-api": [
        *READS_NOTHING[1:4],
        READS_NOTHING[-1],
        *WRITES_NO_DOCUMENT,
        *DESTROYS_NOTHING,
        ("XADD", "tenant:42:events", "*", "event", "{}"),
        ("ZADD", "tenant:42:feed", "1", "job:a1"),
        ("SUBSCRIBE", "other"),
        ("GET", "tenant:42:job:a1:ended"),
        ("ZREVRANGE", "jobtrail:ready:status", "0", "1"),
    ],
    "jobtrail-console": [
        *WRITES_NO_DOCUMENT,
        *DESTROYS_NOTHING,
        *REPLACES_NOTHING,
        ("EXPIRE", "tenant:42:events", "0"),
        ("XDEL", "tenant:42:events", "1-0"),
        ("HSET", "jobtrail:consumers", "status/a", "x"),
        ("ZADD", "jobtrail:leased:status", "1", "42"),
    ],
    "jobtrail-consumer": [
        *DESTROYS_NOTHING,
        ("SET", "other", "x"),
        ("GET", "session:1"),
        ("EVAL", "return 1", "0"),
        ("PUBLISH", "other", "x"),
    ],
    "jobtrail-ops": [
        *(one for one in DESTROYS_NOTHING if one[:2] != ("CONFIG", "GET")),
        ("SET", "other", "x"),
        ("GET", "session:1"),
    ],
}


def test_every_user_is_judged() -> None:
    assert set(FORBIDDEN) == set(USERS)


@pytest.mark.parametrize(
    ("user", "command"),
    [(user, command) for user, commands in FORBIDDEN.items() for command in commands],
    ids=lambda value: value if isinstance(value, str) else "-".join(value[:3]),
)
def test_refused(users: redis.Redis, user: str, command: tuple[str, ...]) -> None:
    """The server says beforehand what it would refuse; nothing of it is tried."""
    said: Any = ask(users, "ACL", "DRYRUN", user, *command)
    assert b"no permissions" in said or b"No permissions" in said


@pytest.fixture(scope="module")
def users() -> Iterator[redis.Redis]:
    with server_folder() as folder, Shipped(folder) as server, connect(server.url) as client:
        yield client


def test_refusal_is_real(url: Url, client: redis.Redis) -> None:
    """Not only in a dry run: a worker that reads another's status gets nothing."""
    client.set("tenant:42:job:a1:status", "{}")
    with connect(url("jobtrail-worker")) as worker:
        for words in READS_NOTHING[:4]:
            with pytest.raises(redis.exceptions.NoPermissionError):
                ask(worker, *words)


def _status(stream: Stream) -> object:
    event = stream.event()
    assert event is not None
    return event.data["status"]


def _get(api: str, job: str, tenant: str, **query: str) -> dict[str, Any]:
    url, headers = f"{api}/api/v1/jobs/{job}/progress/", {"X-Tenant-ID": tenant}
    answer = httpx.get(url, headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _address(process: Any) -> str:
    line: str = process.stdout.readline().decode()
    assert line.startswith("api: "), line
    return line.removeprefix("api: ").strip()
