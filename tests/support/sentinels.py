"""A primary, its replica and the Sentinels that watch them; real processes all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from ops.devstack import EmbeddedRedis
from streams.wire import ask
from tests.support.processes import frozen
from tests.support.replication import SERVICE, Sentinel, plain, replicate
from tests.support.servers import server_folder
from tests.support.waiting import eventually


class Watched(NamedTuple):
    """Two servers and their Sentinels."""

    servers: Sequence[EmbeddedRedis]
    sentinels: Sequence[Sentinel]

    @property
    def primary(self) -> EmbeddedRedis:
        """The server that the first Sentinel names."""
        with plain(self.sentinels[0]) as client:
            _, port = ask(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def replace_primary(self) -> EmbeddedRedis:
        """Kill the primary, wait for the next one, and return the killed server, not started."""
        old = self.primary
        old.kill()
        eventually(lambda: self.primary is not old, 60, "the new primary")
        return old

    def fail_over(self) -> None:
        """Have the replica replace the primary in order, which then is the replica, in step."""
        old = self.primary
        self.sentinels[0].failover()
        eventually(lambda: self.primary is not old, 60, "the new primary")
        self._await_replica()

    def freeze_primary(self, pause: Callable[[], None]) -> None:
        """Stop the process of the primary until it is replaced, and then for a pause.

        Then the primary, which knows of nothing, becomes the replica, in step.
        """
        old = self.primary
        with frozen(old.pid):
            eventually(lambda: self.primary is not old, 60, "the new primary")
            pause()
        self._await_replica()

    def restart(self, server: EmbeddedRedis) -> None:
        """Start a killed server again, which the Sentinels make a replica; wait until it is one."""
        server.start()
        _share_password(self.servers)
        self._await_replica()

    def _await_replica(self) -> None:
        """Wait until the primary has a replica that is in step."""
        with plain(self.primary) as client:
            client.config_set("repl-diskless-sync-delay", "0")
            eventually(
                lambda: client.info("replication").get("slave0", {}).get("state") == "online", 60
            )

    @property
    def url(self) -> str:
        """The URL for clients."""
        return self.url_of(SERVICE)

    def url_of(self, service: str, sentinel_password: str | None = None) -> str:
        """Return the URL of a service, and of the Sentinels with another password."""
        login = urlsplit(self.servers[0].url).netloc.rpartition("@")[0]
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        password = self.sentinels[0].password if sentinel_password is None else sentinel_password
        option = f"?sentinel_password={password}" if password else ""
        return f"redis+sentinel://{login}@{hosts}/{service}/0{option}"


@contextmanager
def watched(
    sentinels: int = 1, *, persist: bool = False, sentinel_password: str = ""
) -> Iterator[Watched]:
    """Start a primary, a replica with the same password, and Sentinels that know each other."""
    with ExitStack() as stack:

        def redis_server() -> EmbeddedRedis:
            folder = stack.enter_context(server_folder())
            return stack.enter_context(EmbeddedRedis(folder, persist=persist))

        servers = [redis_server(), redis_server()]
        _share_password(servers)
        replicate(servers[1], servers[0])
        quorum = sentinels // 2 + 1
        watching = [
            stack.enter_context(
                Sentinel(
                    stack.enter_context(server_folder()),
                    servers[0],
                    quorum=quorum,
                    password=sentinel_password,
                )
            )
            for _ in range(sentinels)
        ]
        for each in watching:
            eventually(lambda each=each: each.knows(replicas=1, sentinels=sentinels - 1), 60)  # type: ignore[misc]
        yield Watched(servers, watching)


def _share_password(servers: Sequence[EmbeddedRedis]) -> None:
    """Set the first server's password on all, as clients of Sentinels need it."""
    password = str(urlsplit(servers[0].url).password)
    for server in servers:
        with plain(server) as client:
            client.config_set("requirepass", password)
            client.config_set("masterauth", password)
        server._password = password
