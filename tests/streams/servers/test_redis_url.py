"""A Redis URL is checked before anything is sent; errors are one line without secrets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from streams.connection import (
    InvalidUrl,
    connect,
    connect_async,
)
from streams.servers.redis_url import parse_redis_url

SECRET = "hunter2"
AT = f"redis://user:{SECRET}@localhost:6379/0"
TLS = f"rediss://user:{SECRET}@localhost:6379/0"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"{AT}?family=0", "option family is unknown"),
        (f"{AT}?master=main", "option master is unknown"),
        (f"{TLS}?ssl_ca=1", "option ssl_ca is unknown (the nearest is ssl_ca_"),
        (f"{AT}?{SECRET}=1", "unknown option"),
        (f"{AT}?ssl_ca_certs=/ca.pem", "needs the scheme rediss"),
        (f"{AT}?protocol=3", "option protocol is unknown"),
        (f"{AT}?decode_responses=true", "option decode_responses is unknown"),
        (f"{AT}?timeout", "option timeout is unknown"),
        (f"{AT}?socket_timeout=abc", "socket_timeout must be a number of seconds"),
        (f"{AT}?socket_timeout=0", "socket_timeout must be"),
        (f"{AT}?socket_timeout=inf", "socket_timeout must be"),
        (f"{AT}?socket_timeout=", "socket_timeout must be"),
        (f"{AT}?max_connections=0", "max_connections must be a whole number from 1"),
        (f"{AT}?health_check_interval=1.5", "health_check_interval must be a whole number"),
        (f"{AT}?socket_keepalive=maybe", "socket_keepalive must be true or false"),
        (f"{AT}?client_name=a%20b", "client_name must be printable"),
        (f"{AT}?socket_timeout=1&socket_timeout=2", "given twice"),
        (f"{AT}?db=1", "given twice"),
        (f"redis://:{SECRET}@localhost?db=x", "database must be a number"),
        (f"redis://:{SECRET}@localhost?db=-1", "database must be a number"),
        (f"redis://:{SECRET}@localhost/x", "database must be a number"),
        (f"redis://:{SECRET}@localhost/-1", "database must be a number"),
        (f"redis://:{SECRET}@localhost/0/1", "database must be a number"),
        (f"redis://:{SECRET}@localhost/99999999999", "database must be a number"),
        (f"redis://:{SECRET}@localhost:0/0", "port must be a number from 1"),
        (f"redis://:{SECRET}@localhost:65536/0", "port must be a number from 1"),
        (f"redis://:{SECRET}@localhost:-1/0", "port must be a number from 1"),
        (f"redis://:{SECRET}@localhost:port/0", "port must be a number from 1"),
        (f"redis://:{SECRET}@a:1,b:2/0", "port must be a number from 1"),
        (f"redis://:{SECRET}@a,b/0", "host is not valid"),
        (f"redis://:{SECRET}@[::1/0", "host is not valid"),
        (f"redis://:{SECRET}@redis..example/0", "host is not valid"),
        (f"redis://:{SECRET}@{'a' * 64}.example/0", "host is not valid"),
        (f"redis://:{SECRET}\udcff@localhost/0", "not UTF-8"),
        (f"redis://:{SECRET}@local\udcffhost/0", "not UTF-8"),
        (f"redis://:{SECRET}@:6379/0", "no host"),
        (f"redis://:{SECRET}@/0", "no host"),
        ("redis:///0", "no host"),
        (f"redis://:{SECRET}%zz@localhost", "%40"),
        (f"redis://:{SECRET}%ff@localhost", "%40"),
        (f"redis://:{SECRET}%@localhost", "%40"),
        (f"redis://:{SECRET}/x@localhost/0", "%40"),
        (f"redis://:{SECRET}?x@localhost/0", "%40"),
        (f"redis://:{SECRET}#x@localhost/0", "%40"),
        (f"{AT}#{SECRET}", "%40"),
        (f"{AT}?client_name=%zz", "%40"),
        (f"redis://:{SECRET}@local host/0", "a space"),
        (f"redis://:{SECRET}@localhost\n/0", "a space"),
        (f"unix://:{SECRET}@", "no socket"),
        ("unix:///", "no socket"),
        (f"unix://:{SECRET}@tmp/redis.sock", "third slash"),
        ("unix:/tmp/redis.sock", "scheme"),
        (f"unix://:{SECRET}@/r.sock?socket_keepalive=true", "socket_keepalive is unknown"),
        (f"http://:{SECRET}@localhost/0", "scheme"),
        (f"unix+sentinel://:{SECRET}@a:1/main", "scheme"),
        (f"redis+sentinels://:{SECRET}@a:1/main", "scheme"),
        (f"redis+sentinel:{SECRET}@a:1/main", "scheme"),
        (f"redis+sentinel://:{SECRET}@a:1,b:2", "names no service"),
        (f"redis+sentinel://:{SECRET}@a:1,b:2//0", "names no service"),
        (f"redis+sentinel://:{SECRET}@a:1/ma%2Fin/0", "service is not valid"),
        (f"redis+sentinel://:{SECRET}@a:1/main/x", "database must be a number"),
        (f"redis+sentinel://:{SECRET}@a:1/main/0/1", "database must be a number"),
        (f"redis+sentinel://:{SECRET}@a:1/main/0?db=1", "given twice"),
        (f"redis+sentinel://:{SECRET}@/main", "no host"),
        (f"redis+sentinel://:{SECRET}@a:1,/main", "no host"),
        (f"redis+sentinel://:{SECRET}@a:1,,b:2/main", "no host"),
        (f"redis+sentinel://:{SECRET}@a:1,b:0/main", "port must be a number from 1"),
        (f"redis+sentinel://:{SECRET}@a:1,b:x/main", "port must be a number from 1"),
        (f"redis+sentinel://:{SECRET}@a:1:2/main", "port must be a number from 1"),
        (f"redis+sentinel://:{SECRET}@a:1,[::1/main", "host is not valid"),
        (f"redis+sentinel://:{SECRET}@a:1,b..c:2/main", "host is not valid"),
        (f"redis+sentinel://:{SECRET}/x@a:1,b:2/main", "%40"),
        (f"redis+sentinel://:{SECRET}#x@a:1,b:2/main", "%40"),
        (f"redis+sentinel://a:1/main?sentinel_user={SECRET}", "sentinel_user is unknown"),
        (f"redis+sentinel://a:1/main?sentinel_username={SECRET}", "needs sentinel_password"),
        (f"redis+sentinel://a:1/main?ssl_ca_certs={SECRET}", "needs the scheme rediss"),
        (f"redis://a:1/0?sentinel_password={SECRET}", "needs the scheme redis+sentinel"),
        (f"rediss+sentinel://:{SECRET}@a:1/main?ssl_ca_certs=/no/ca.pem", "No such file"),
        (f"redis+cluster://:{SECRET}@a:1,b:2/1", "no databases"),
        (f"redis+cluster://:{SECRET}@a:1?db=2", "no databases"),
        (f"redis+cluster://:{SECRET}@a:1/main", "database must be a number"),
        (f"redis+cluster://:{SECRET}@a:1,", "no host"),
        (f"redis+cluster://:{SECRET}@a:1,b:x", "port must be a number from 1"),
        (f"redis+cluster://a:1?sentinel_password={SECRET}", "needs the scheme redis+sentinel"),
        (f"redis+cluster://a:1?ssl_ca_certs={SECRET}", "needs the scheme rediss"),
        (f"{TLS}?ssl_cert_reqs=sometimes", "ssl_cert_reqs must be none, optional or required"),
        (f"{TLS}?ssl_min_version=TLSv1", "ssl_min_version must be TLSv1_2 or TLSv1_3"),
        (f"{TLS}?ssl_ciphers=none-such", "ssl_ciphers cannot be used"),
        (f"{TLS}?ssl_ca_data=none-such", "ssl_ca_data cannot be used"),
        (f"{TLS}?ssl_ca_certs=/no/ca.pem", "ssl_ca_certs: /no/ca.pem: No such file"),
        (f"{TLS}?ssl_ca_certs=/tmp", "ssl_ca_certs: /tmp: Is a directory"),
        (f"{TLS}?ssl_certfile=/no/me.pem", "ssl_certfile: /no/me.pem: No such file"),
        (f"{TLS}?ssl_keyfile=/no/me.key", "ssl_keyfile: /no/me.key: No such file"),
        (f"{TLS}?ssl_ca_path=/no/folder", "ssl_ca_path: /no/folder is not a directory"),
        (f"{TLS}?ssl_keyfile={__file__}", "ssl_keyfile needs ssl_certfile"),
        (f"{TLS}?ssl_ca_certs={__file__}", "cannot be used"),
        (f"{TLS}?ssl_certfile={__file__}", "cannot be used"),
    ],
)
def test_url_that_is_wrong__is_one_line_that_says_why(url: str, problem: str) -> None:
    for make in (connect, connect_async):
        with pytest.raises(InvalidUrl, match=re.escape(problem)) as raised:
            make(url)
        assert len(str(raised.value).splitlines()) == 1
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h", {"host": "h"}),
        ("redis://h/", {"host": "h"}),
        ("REDIS://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h?db=3", {"host": "h", "db": 3}),
        ("redis://[::1]:1", {"host": "::1", "port": 1}),
        ("redis://u:p%40%2Fs%25@h", {"host": "h", "username": "u", "password": "p@/s%"}),
        ("redis://:p@q@h", {"host": "h", "password": "p@q"}),
        ("redis://h?socket_timeout=2&client_name=me", {"socket_timeout": 2.0}),
        ("unix:///tmp/r.sock?db=1", {"path": "/tmp/r.sock", "db": 1}),
        ("unix://u:p@/tmp/r%20s.sock", {"path": "/tmp/r s.sock", "username": "u"}),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=no", {"ssl_check_hostname": False}),
    ],
)
def test_url_that_is_right__is_taken_apart(url: str, options: dict[str, Any]) -> None:
    parsed = parse_redis_url(url)
    assert options.items() <= parsed.options.items()
    assert connect(url) is not None
    assert connect_async(url) is not None


def test_url_of_a_cluster__is_taken_apart() -> None:
    url = "rediss+cluster://u:p%40@[::1]:1,c/0?socket_timeout=2"
    scheme, options, sentinels, nodes = parse_redis_url(url)
    assert (scheme, sentinels, list(nodes)) == ("rediss", None, [("::1", 1), ("c", 6379)])
    assert options == {"username": "u", "password": "p@", "socket_timeout": 2.0}
    assert connect(url) is not None
    assert connect_async(url) is not None


def test_url_of_sentinels__is_taken_apart() -> None:
    url = (
        "REDISS+Sentinel://u:p%40@[::1]:1,[fe80::2],c:3/my.Main-1/2"
        "?sentinel_username=s&sentinel_password=q%2F&socket_timeout=2"
    )
    scheme, options, sentinels, _ = parse_redis_url(url)
    assert scheme == "rediss"
    assert options == {"username": "u", "password": "p@", "db": 2, "socket_timeout": 2.0}
    assert sentinels is not None
    assert list(sentinels.addresses) == [("::1", 1), ("fe80::2", 26379), ("c", 3)]
    assert sentinels.service == "my.Main-1"
    assert sentinels.login == {"username": "s", "password": "q/"}
    assert connect(url) is not None
    assert connect_async(url) is not None
    assert parse_redis_url("redis+sentinel://a:1/main").options == {}


def test_certificates_that_can_be_read__are_taken(tmp_path: Path) -> None:
    certificate, key = tmp_path / "me.pem", tmp_path / "me.key"
    own_certificate(certificate, key)
    files = f"ssl_ca_certs={certificate}&ssl_certfile={certificate}"
    assert connect(f"{TLS}?{files}&ssl_keyfile={key}&ssl_ca_path={tmp_path}") is not None
    with pytest.raises(InvalidUrl, match="ssl_certfile"):
        connect(f"{TLS}?{files}")  # without its key


def own_certificate(certificate: Path, key: Path) -> None:
    """Write a self-signed certificate and its key."""
    private, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, private.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
