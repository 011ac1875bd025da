"""A real nginx with the example configuration, in front of a real API."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import jwt
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from projections.decoding import decode
from projections.status.writer import StatusCache
from streams.entry_ids import EntryId
from tests.support.debian import debian_environ, debian_program
from tests.support.event_stream import running_api
from tests.support.servers import server_folder
from tests.support.tokens import FAR
from tests.support.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "deploy/nginx/jobtrail.conf"
SECRET = "a-secret-of-more-than-thirty-two-bytes"
NAME = "jobs.example.com"
PATH = "/api/v1/jobs/a1/progress/"
TIMEOUT = 60
AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/start.log;
{user}
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


class Proxy(NamedTuple):
    """The proxy's address, its folder of logs, and the Redis behind the API."""

    port: int
    folder: Path
    redis: redis.Redis

    def get(self, path: str, source: str = "127.0.0.1", **headers: str) -> httpx.Response:
        transport = httpx.HTTPTransport(verify=False, local_address=source)
        with httpx.Client(transport=transport, timeout=TIMEOUT) as client:
            return client.get(
                f"https://127.0.0.1:{self.port}{path}", headers={"host": NAME, **headers}
            )

    def connect(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        here = ("127.0.0.1", self.port)
        plain = socket.create_connection(here, TIMEOUT, source_address=(source, 0))
        return context.wrap_socket(plain, server_hostname=NAME)

    def append(self, ms: int, event: bytes) -> None:
        entry = decode("t", EntryId(ms, 0), [b"event", event])
        StatusCache(self.redis).apply([entry])

    def logs(self) -> str:
        return "".join(file.read_text() for file in self.folder.glob("*.log"))


@pytest.fixture(scope="module")
def proxy(redis_server: Any) -> Iterator[Proxy]:
    program = debian_program("nginx")
    settings = {
        "auth": "jwt",
        "jwt_secret": SECRET,
        "bad_token_rate_limit": 0.001,
        "client_address_header": "X-Real-IP",
        "trusted_proxies": "127.0.0.1",
    }
    with (
        server_folder() as folder,
        running_api(redis_server.url, **settings) as api,
        closing(redis.Redis.from_url(redis_server.url, protocol=2)) as client,
    ):
        client.flushall()
        port = _free_port()
        configuration = folder / "nginx.conf"
        configuration.write_text(_configuration(folder, port, urlsplit(api.url).netloc))
        process = subprocess.Popen(
            [program, "-c", configuration, "-e", folder / "start.log"],
            env=debian_environ(),
            stderr=subprocess.DEVNULL,
        )
        try:
            made = Proxy(port, folder, client)
            eventually(lambda: _answers(made, process), 30, "nginx's first answer")
            yield made
        finally:
            process.terminate()
            process.wait()


def _answers(proxy: Proxy, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        pytest.fail(f"nginx ended: {proxy.logs()}")
    try:
        return proxy.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def _configuration(folder: Path, port: int, api: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "fullchain.pem").write_bytes(pem)
    site = EXAMPLE.read_text()
    for written, here in (
        ("/etc/ssl/jobtrail", str(folder)),
        ("/var/log/nginx", str(folder)),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("server 127.0.0.1:8000", f"server {api}"),
    ):
        assert written in site
        site = site.replace(written, here)
    user = "user root;" if Path("/proc/self").stat().st_uid == 0 else ""
    return AROUND.format(folder=folder, site=site, user=user)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bearer(secret: str = SECRET, **claims: Any) -> dict[str, str]:
    token = jwt.encode({"tenant_id": "t", "exp": FAR, **claims}, secret)
    return {"authorization": f"Bearer {token}"}


def test_progress_is_served(proxy: Proxy) -> None:
    proxy.append(1, b'{"type":"processing","id":"a1"}')
    answer = proxy.get(PATH, **bearer())
    assert (answer.status_code, answer.json()["status"]) == (200, "PROCESSING")


def test_bad_tokens_are_limited_by_the_clients_own_address(proxy: Proxy) -> None:
    """An address that the client itself states changes nothing."""
    statuses = [
        proxy.get(
            PATH,
            "127.0.0.2",
            **bearer("x" * 40),
            **{"x-real-ip": f"192.0.2.{number}", "x-forwarded-for": f"192.0.2.{number}"},
        ).status_code
        for number in range(3)
    ]
    assert statuses == [401, 429, 429]
    assert proxy.get(PATH, "127.0.0.3", **bearer("x" * 40)).status_code == 401
    assert proxy.get("/api/v1/jobs/none/progress/", "127.0.0.2", **bearer()).status_code == 404


@pytest.mark.parametrize(
    "name",
    ["X-Real-IP", "X_Real_IP", "x-real-ip ", "X-Forwarded-For", "Forwarded", "True-Client-IP"],
)
def test_an_address_forged_in_any_field_counts_for_nothing(proxy: Proxy, name: str) -> None:
    source = f"127.0.1.{sum(name.encode()) % 250 + 1}"
    statuses = []
    for number in range(3):
        forged = f"{name}: 192.0.2.{number}\r\n{name}: 198.51.100.{number}\r\n"
        token = f"Authorization: {bearer('x' * 40)['authorization']}\r\n"
        head = f"GET {PATH} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n{forged}{token}\r\n"
        with closing(proxy.connect(source)) as connection:
            connection.sendall(head.encode())
            statuses.append(int(connection.makefile("rb").readline().split()[1]))
    assert statuses in ([401, 429, 429], [400, 400, 400])


def test_oversized_bodies_end_at_the_proxy(proxy: Proxy) -> None:
    for length in (65_537, 10**12):
        head = (
            f"POST /api/v1/progress/query HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        with closing(proxy.connect()) as connection:
            connection.sendall(head.encode())
            assert connection.makefile("rb").readline().split()[1] == b"413"


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/api/v1/ops/overview/", 403),
        ("/api/v1/ops/jobs/", 403),
        ("/api/v1/ops/jobs/t/job/a1/", 403),
        ("/console/", 403),
        ("/metrics/", 404),
    ],
)
def test_paths_from_within_are_closed_to_the_outside_however_they_are_written(
    proxy: Proxy, path: str, closed: int
) -> None:
    last = path.rstrip("/").rpartition("/")[2]
    variants = [
        path,
        path.rstrip("/"),
        f"/{path}",
        f"/.{path}",
        f"/x/..{path}",
        path.replace("/", "//"),
        path.replace("o", "%6f"),
        path.replace("/", "/%2e/"),
        f"{path.rstrip('/')}/{last}/../../{last}/",
        f"{path}..%2f..%2f..%2f..%2fhealthz",
        f"{path}../../../../healthz",
        f"{path};x",
        f"{path}?access_token=x",
        f"{path.rstrip('/')}%2f",
        path.replace("e", "%65"),
        path.replace("/api/v1/ops", "/api/v1/ops%2f"),
        path.replace("/api/v1/ops", "/api/v1/%6fps"),
        path.replace("/", "\\"),
    ]
    token = bearer(scope="ops")["authorization"]
    for variant in variants:
        head = f"GET {variant} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: {token}\r\n"
        with closing(proxy.connect("127.0.0.2")) as connection:
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
            status = int(connection.makefile("rb").readline().split()[1])
        allowed = (closed,) if variant == path else (400, 403, 404)
        assert status in allowed, (variant, status)


def test_streams_are_not_held_back__and_their_tokens_are_in_no_log(proxy: Proxy) -> None:
    token = bearer()["authorization"].removeprefix("Bearer ")
    proxy.append(1, b'{"type":"processing","id":"s1"}')
    with closing(proxy.connect()) as connection:
        path = f"/api/v1/jobs/s1/progress/events?access_token={token}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        assert b"PROCESSING" in _read_until(connection, b"PROCESSING")
        proxy.append(2, b'{"type":"done","id":"s1"}')
        assert b"DONE" in _read_until(connection, b"DONE")
    written = eventually(lambda: "/progress/events" in proxy.logs() and proxy.logs(), 30)
    assert isinstance(written, str)
    assert token not in written
    assert "access_token" not in written


def test_slash_redirects_lead_nowhere_else(proxy: Proxy) -> None:
    answer = proxy.get("/api/v1/jobs?access_token=secret", host="evil.example")
    assert "evil.example" not in answer.headers.get("location", "")
    assert "secret" not in answer.headers.get("location", "")


HIDDEN = f"GET /healthz HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode()


def test_a_request_hidden_in_a_body_is_not_answered(proxy: Proxy) -> None:
    head = f"GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {len(HIDDEN)}\r\n"
    assert _answers_to(proxy, f"{head}Connection: close\r\n\r\n".encode() + HIDDEN) == 1


@pytest.mark.parametrize(
    "extra",
    [
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length : 0\r\n",
    ],
)
def test_lengths_that_disagree_are_refused(proxy: Proxy, extra: str) -> None:
    head = f"POST /api/v1/progress/query HTTP/1.1\r\nHost: {NAME}\r\n{extra}\r\n"
    assert _answers_to(proxy, head.encode() + b"0\r\n\r\n" + HIDDEN) <= 1


def test_pipelined_requests_are_each_answered_in_order(proxy: Proxy) -> None:
    last = HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with closing(proxy.connect()) as connection:
        connection.sendall(HIDDEN.replace(b"/healthz", b"/none") + HIDDEN + last)
        received = _read_until(connection, b"\xff\xff never sent")
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"404", b"200", b"200"]


def _answers_to(proxy: Proxy, raw: bytes) -> int:
    with closing(proxy.connect()) as connection:
        connection.sendall(raw)
        connection.settimeout(2)
        return len(re.findall(rb"HTTP/1.1 [2-5]\d\d", _read_until(connection, b"\xff\xff never")))


def _read_until(connection: ssl.SSLSocket, end: bytes) -> bytes:
    """Read until the end is there, the connection is closed, or nothing more comes."""
    received = b""
    try:
        while end not in received and (part := connection.recv(65_536)):
            received += part
    except (TimeoutError, ssl.SSLError, ConnectionError):
        pass
    return received
