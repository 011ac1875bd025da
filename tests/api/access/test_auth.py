"""Authentication: accepted and refused credentials, and known attacks."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.access.auth import authenticator
from api.app import create_app
from api.http.problems import BadCredentials
from streams.settings import Settings, SettingsError
from tests.api.conftest import Asker, Writer
from tests.support.tokens import FAR
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-more-than-thirty-two-bytes"
PATH = "/api/v1/jobs/a1/progress/"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def public(key_id: str, jwk: str, **fields: str) -> dict[str, Any]:
    return {**json.loads(jwk), "kid": key_id, **fields}


JWKS = json.dumps(
    {
        "keys": [
            public("rsa", RSAAlgorithm.to_jwk(RSA_KEY.public_key())),
            public("ec", ECAlgorithm.to_jwk(EC_KEY.public_key()), use="sig", alg="ES256"),
            public("ed", OKPAlgorithm.to_jwk(ED_KEY.public_key())),
        ]
    }
)


def token(
    key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any
) -> str:
    headers = {"kid": kid} if kid else None
    return jwt.encode({"tenant_id": "t", "exp": FAR, **claims}, key, algorithm, headers=headers)


def bearer(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


@pytest.fixture(autouse=True)
def _job(write: Writer) -> None:
    write("t", {"type": "processing", "id": "a1"}, {"type": "processing", "id": "a2"})
    write("t", {"type": "processing", "id": "7", "kind": "video"})
    write("42", {"type": "processing", "id": "a1"})


@pytest.mark.parametrize("tenant", ["t", "42", 42])
async def test_secret__valid(ask: Asker, tenant: object) -> None:
    """The tenant of a token is a string or a number; the case of the scheme does not matter."""
    async with ask(jwt_secret=SECRET, auth="jwt") as client:
        for scheme in ("Bearer", "bearer"):
            headers = {"authorization": f"{scheme} {token(tenant_id=tenant)}"}
            assert (await client.get(PATH, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"tenant_id": None},
        {"tenant_id": ""},
        {"tenant_id": "a:b"},
        {"tenant_id": "t\n"},
        {"tenant_id": "x" * 65},
        {"tenant_id": True},
        {"tenant_id": 1.5},
        {"tenant_id": ["t"]},
        {"tenant_id": -1.0},
    ],
)
async def test_token__no_tenant(ask: Asker, claims: dict[str, Any]) -> None:
    async with ask(jwt_secret=SECRET, auth="jwt") as client:
        answer = await client.get(PATH, headers=bearer(token(**claims)))
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "tenant-missing",
        "title": "Bad Request",
        "status": 400,
        "detail": "tenant가 필요합니다.",
    }


def unsigned(**claims: Any) -> str:
    return jwt.encode({"tenant_id": "t", "exp": FAR, **claims}, "", "none")


def signed_with_public_key(kid: str | None) -> str:
    """Tokens that a verifier accepts if the token selects the algorithm."""
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
    parts = b".".join(map(_encoded, (header, {"tenant_id": "t", "exp": FAR})))
    return b".".join((parts, _base64(hmac.digest(pem, parts, "sha256")))).decode()


def _encoded(value: object) -> bytes:
    return _base64(json.dumps(value).encode())


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
BAD_TOKENS = {
    "alg none": unsigned(),
    "alg none, key named": jwt.encode({"tenant_id": "t"}, "", "none", headers={"kid": "rsa"}),
    "other secret": token("another-secret-of-more-than-32-bytes!!"),
    "other algorithm": token("x" * 64, "HS512"),
    "expired": token(exp=int(time.time()) - 1),
    "not yet": token(nbf=int(time.time()) + 86_400),
    "exp of no number": token(exp="soon"),
    "exp of no size": token(exp=float("inf")),
    "exp that no float holds": token(exp=10**400),
    "exp below all floats": token(exp=-(10**400)),
    "nbf that no float holds": token(nbf=10**400),
    "exp of no form": token(exp=[FAR]),
    "no exp": jwt.encode({"tenant_id": "t"}, SECRET),
    "exp of nothing": token(exp=None),
    "other key": token(OTHER_RSA, "RS256", "rsa"),
    "other key, none named": token(OTHER_RSA, "RS256"),
    "key of another name": token(RSA_KEY, "RS256", "ec"),
    "unknown key": token(RSA_KEY, "RS256", "who"),
    "other algorithm of the key": token(RSA_KEY, "RS512", "rsa"),
    "other padding of the key": token(RSA_KEY, "PS256", "rsa"),
    "public key as secret": signed_with_public_key("rsa"),
    "public key as secret, none named": signed_with_public_key(None),
    "lists of another form": token(jobs="a1"),
    "garbage": "garbage",
    "three parts": "a.b.c",
    "no text": "\xff\xfe",
    "empty": "",
}


@pytest.mark.parametrize("why", BAD_TOKENS)
async def test_token__refused(ask: Asker, why: str) -> None:
    """Every refusal equals that of a missing token, to the byte."""
    headers = {b"authorization": f"Bearer {BAD_TOKENS[why]}".encode("latin-1")}
    async with ask(jwt_secret=SECRET, jwks=JWKS, auth="jwt") as client:
        answer = await client.get(PATH, headers=headers)
        without = await client.get(PATH, headers={"x-tenant-id": "t"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (answer.content, answer.headers) == (without.content, without.headers)


@pytest.mark.parametrize("tenant", ["t", "other"])
async def test_token__two_of_them_are_refused(ask: Asker, tenant: str) -> None:
    """A proxy may use the first one, and this process the last one."""
    headers = [("authorization", f"Bearer {each}") for each in (token(), token(tenant_id=tenant))]
    async with ask(auth="jwt", jwt_secret=SECRET) as client:
        answer = await client.get(PATH, headers=headers)
        assert (answer.status_code, answer.json()["parameter"]) == (400, "authorization")


async def test_token__other_scheme(ask: Asker) -> None:
    async with ask(jwt_secret=SECRET, auth="jwt") as client:
        for value in (token(), f"Basic {token()}", f"Bearer{token()}"):
            answer = await client.get(PATH, headers={"authorization": value})
            assert answer.status_code == 401


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA_KEY, "RS256", "rsa"), (EC_KEY, "ES256", "ec"), (ED_KEY, "EdDSA", "ed")],
)
@pytest.mark.parametrize("source", ["inline", "file"])
async def test_jwks__valid(
    ask: Asker, tmp_path: Path, *, key: Any, algorithm: str, kid: str, source: str
) -> None:
    """A public key verifies with its own algorithm, whether the key set has it or not."""
    path = tmp_path / "keys.json"
    path.write_text(JWKS)
    async with ask(jwks=JWKS if source == "inline" else str(path), auth="jwt") as client:
        for named in (kid, None):
            headers = bearer(token(key, algorithm, named))
            assert (await client.get(PATH, headers=headers)).status_code == 200
        assert (await client.get(PATH, headers=bearer(token()))).status_code == 401


def test_token__remembered_until_it_expires() -> None:
    """A cached token is not accepted after it has expired."""
    identify = authenticator(Settings(jwt_secret=SECRET)).identify
    header = f"Bearer {token(exp=int(time.time()) + 2)}"
    assert identify(header, None, {}).tenant == "t"

    def refused() -> bool:
        try:
            return not identify(header, None, {})
        except BadCredentials:
            return True

    eventually(refused, what="the end of the token")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token__remembered_by_the_whole_header_alone(scheme: str) -> None:
    identify = authenticator(Settings(jwt_secret=SECRET)).identify
    known = token()
    for _ in range(2):
        assert identify(f"{scheme} {known}", None, {}).tenant == "t"
        for wrong in (known, f"{scheme}{known}", f"Basic {known}", f"{scheme}  {known}", scheme):
            with pytest.raises(BadCredentials):
                identify(wrong, None, {})


async def test_token__memory_is_bounded(ask: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.access.auth.CACHED_TOKENS", 2)
    async with ask(jwt_secret=SECRET, auth="jwt") as client:
        for number in [*range(5), *range(5)]:
            headers = bearer(token(n=number))
            assert (await client.get(PATH, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("claims", "seen"),
    [
        ({"jobs": ["a1"]}, ["jobs/a1"]),
        ({"jobs": ["a1", "a2"], "videos": []}, ["jobs/a1", "jobs/a2"]),
        ({"videos": [7]}, ["videos/7"]),
        ({"videos": ["7"], "jobs": ["a2"]}, ["jobs/a2", "videos/7"]),
        ({}, ["jobs/a1", "jobs/a2", "videos/7"]),
    ],
)
async def test_token__narrowed(ask: Asker, claims: dict[str, Any], seen: list[str]) -> None:
    """A list admits its ids only; all other jobs are answered like missing ones."""
    paths = {
        "jobs/a1": "/api/v1/jobs/a1/progress/",
        "jobs/a2": "/api/v1/jobs/a2/progress/",
        "videos/7": "/media/videos/7/progress/",
    }
    async with ask(headers=bearer(token(**claims)), jwt_secret=SECRET, auth="jwt") as client:
        absent = await client.get("/api/v1/jobs/none/progress/")
        answers = {name: await client.get(path) for name, path in paths.items()}
    assert [name for name, answer in answers.items() if answer.status_code == 200] == seen
    for answer in answers.values():
        if answer.status_code != 200:
            assert (answer.content, answer.headers) == (absent.content, absent.headers)


async def test_dev__tenant(ask: Asker) -> None:
    async with ask() as client:
        assert (await client.get(PATH)).status_code == 200
        for bad in ("", "a b", "t:x", "x" * 65):
            answer = await client.get(PATH, headers={"x-tenant-id": bad})
            assert (answer.status_code, answer.json()["detail"]) == (400, "tenant가 필요합니다.")
    async with ask(headers={"authorization": "Bearer x"}) as client:
        assert (await client.get(PATH)).status_code == 400


REDIS = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.9", "::1", "localhost"])
def test_dev__loopback(host: str) -> None:
    create_app(Settings(redis_url=REDIS, auth="dev", api_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "no.such.host.invalid"])
def test_dev__not_loopback_only(host: str) -> None:
    with pytest.raises(SettingsError, match=f"JOBTRAIL_AUTH=dev .*JOBTRAIL_API_HOST={host} "):
        create_app(Settings(redis_url=REDIS, auth="dev", api_host=host))


def jwks_of(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": keys})


RSA_PUBLIC = json.loads(JWKS)["keys"][0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs JOBTRAIL_JWT_SECRET or JOBTRAIL_JWKS"),
        ({"jwks": "/no/such/file"}, "neither a JSON Web Key Set nor a file"),
        ({"jwks": "{"}, "neither a JSON Web Key Set nor a file"),
        ({"jwks": "{}"}, "a JSON Web Key Set is"),
        ({"jwks": '{"keys": [1]}'}, "a JSON Web Key Set is"),
        ({"jwks": jwks_of()}, "no RS256, ES256 or EdDSA signing key"),
        ({"jwks": jwks_of(RSA_PUBLIC | {"use": "enc"})}, "no RS256, ES256 or EdDSA signing key"),
        ({"jwks": jwks_of(RSA_PUBLIC | {"alg": "HS256"})}, "no RS256, ES256 or EdDSA signing key"),
        ({"jwks": jwks_of(RSA_PUBLIC | {"n": "!"})}, "key 'rsa' is not a valid RS256 key"),
        ({"jwks": jwks_of({"kty": "oct", "k": "c2VjcmV0"})}, "public keys only"),
        ({"jwks": jwks_of(json.loads(RSAAlgorithm.to_jwk(RSA_KEY)))}, "public keys only"),
        (
            {"jwt_secret": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"},
            "a public key is not a secret",
        ),
    ],
)
def test_jwt__keys_refused(settings: dict[str, Any], message: str) -> None:
    """Without valid keys the API does not start; the error line contains no key."""
    with pytest.raises(SettingsError, match=message) as refused:
        create_app(Settings(redis_url=REDIS, **settings))
    assert "\n" not in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("short", "has 5 bytes"),
        ("x", "has 1 bytes"),
        ("x" * 31, "has 31 bytes"),
        ("SECRET-OF-32-BYTES-OR-MORE-OR-SET-JOBTRAIL_JWKS", "placeholder"),
        ("change-me-change-me-change-me-change-me", "placeholder"),
        ("Your_Secret_Key_Here_Your_Secret_Key_Here", "placeholder"),
        ("a-string-secret-at-least-256-bits-long", "placeholder"),
    ],
)
def test_secret__can_be_guessed(secret: str, why: str) -> None:
    """With a short or known secret the API does not start; the error line does not contain it."""
    with pytest.raises(SettingsError, match=f"JOBTRAIL_JWT_SECRET.*{why}.*openssl") as refused:
        create_app(Settings(redis_url=REDIS, jwt_secret=secret))
    assert secret not in str(refused.value).split()


def test_secret__example_of_the_deployment_is_refused() -> None:
    text = (Path(__file__).parents[3] / "deploy/systemd/api.env").read_text()
    (secret,) = re.findall(r"^JOBTRAIL_JWT_SECRET=(.*)$", text, re.MULTILINE)
    with pytest.raises(SettingsError, match="JOBTRAIL_JWT_SECRET"):
        create_app(Settings(redis_url=REDIS, jwt_secret=secret))


async def test_token__without_exp_where_that_is_allowed(ask: Asker) -> None:
    headers = bearer(jwt.encode({"tenant_id": "t"}, SECRET))
    async with ask(jwt_secret=SECRET, auth="jwt", tokens_without_exp="allow") as client:
        assert (await client.get(PATH, headers=headers)).status_code == 200


def test_keys__one_that_was_taken_out_signs_nothing_after_a_restart() -> None:
    """Keys are read at the start, and the cache of tokens ends with the process."""
    rsa_key, ec_key, _ = json.loads(JWKS)["keys"]
    header = f"Bearer {token(RSA_KEY, 'RS256', 'rsa')}"
    before = authenticator(Settings(jwks=jwks_of(rsa_key)))
    both = authenticator(Settings(jwks=jwks_of(rsa_key, ec_key)))
    after = authenticator(Settings(jwks=jwks_of(ec_key)))
    assert {each.identify(header, None, {}).tenant for each in (before, both)} == {"t"}
    with pytest.raises(BadCredentials):
        after.identify(header, None, {})


def spellings(signed: str) -> set[str]:
    """Return the header values with which the same token may be sent."""
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return {f"{scheme} {signed[:-1]}{letter}" for scheme in ("Bearer", "bEARER") for letter in last}


def test_identity__is_one_for_all_spellings_of_a_token() -> None:
    identify = authenticator(Settings(jwt_secret=SECRET)).identify
    found = []
    for header in spellings(token()):
        with suppress(BadCredentials):
            found.append(identify(header, None, {}).identity)
    # At least those of the scheme; some decoders also ignore the last bits of the last letter.
    assert len(found) >= 2
    assert len(set(found)) == 1


def test_identity__is_the_subject_over_all_its_tokens() -> None:
    identify = authenticator(Settings(jwt_secret=SECRET)).identify
    tokens = [token(sub="someone", jti=jti) for jti in ("1", "2")]
    found = {identify(f"Bearer {each}", None, {}).identity for each in tokens}
    assert found == {"someone"}
