"""Servers that answer and refuse writes, because they lack memory, replicas or space on a disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from tests.support.replication import plain
from tests.support.waiting import eventually

DISK_BYTES = 256 << 20

Refusing = Callable[[EmbeddedRedis], AbstractContextManager[None]]


@contextmanager
def out_of_memory(server: EmbeddedRedis) -> Iterator[None]:
    """Let Redis have more in memory than it may."""
    with plain(server) as client:
        client.config_set("maxmemory", "1mb")
        yield
        client.config_set("maxmemory", "0")


@contextmanager
def unable_to_save(server: EmbeddedRedis) -> Iterator[None]:
    """Let a snapshot of Redis fail: a folder stands where its file should be."""
    in_the_way = server.data_dir / "dump.rdb"
    (in_the_way / "full").mkdir(parents=True)
    with plain(server) as client:
        client.config_set("save", "3600 1000000")
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 30)
        yield
        (in_the_way / "full").rmdir()
        in_the_way.rmdir()
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", 30)
        client.config_set("save", "")
    in_the_way.unlink()


@contextmanager
def without_replicas(server: EmbeddedRedis) -> Iterator[None]:
    """Let Redis ask for a replica that there is not."""
    with plain(server) as client:
        client.config_set("min-replicas-to-write", "1")
        yield
        client.config_set("min-replicas-to-write", "0")


REDIS_REFUSALS: dict[str, Refusing] = {  # by a word of the server's answer
    "maxmemory": out_of_memory,
    "MISCONF": unable_to_save,
    "NOREPLICAS": without_replicas,
}


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small disk at a folder, and return whether that was possible: it takes root."""
    options = f"size={DISK_BYTES},mode=0700"
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = False
    if os.geteuid() == 0:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Take all space that is left on the disk of a folder."""
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def refused_rows(server: EmbeddedPostgres) -> Iterator[None]:
    """Let PostgreSQL refuse rows with the error of a full disk, where no small disk can be had."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';"
            " END $$"
        )
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON jobs EXECUTE FUNCTION refuse()"
        )
        yield
        connection.execute("DROP TRIGGER refuse ON jobs")
