"""The keys that tokens may be signed with, each for exactly one algorithm.

A token's header selects among these keys, but never the algorithm of a key. Used by
`api.access.auth` and `ops.tasks.tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import orjson
from jwt.algorithms import HMACAlgorithm

from streams.settings import Settings, SettingsError

_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""The only algorithm for each type (and curve) of public key."""

SECRET_BYTES = 32
"""The least bytes of a secret: the size of the hash of HS256 (RFC 7518, section 3.2)."""

_EXAMPLE = "for example from: openssl rand -base64 48"
_PLACEHOLDER = re.compile(
    r"secretof32bytesormoreorsetjobtrailjwks|astringsecretatleast256bitslong"
    r"|(changeme|changethis|replaceme|replacethis|placeholder|your(jwt)?secret(key)?(here)?)+"
)
"""Placeholders of secrets in our examples and in other common ones, without punctuation."""


class TokenKey(NamedTuple):
    """A key and its algorithm."""

    algorithm: str
    key_id: str | None
    """The key's id; None if tokens with any key id, or without one, may be signed with it."""
    key: Any

    def fits(self, header: Mapping[str, Any]) -> bool:
        """Return whether a token with this header may have been signed with the key."""
        key_id = header.get("kid")
        return header.get("alg") == self.algorithm and (
            key_id is None or self.key_id is None or key_id == self.key_id
        )


def token_keys(settings: Settings) -> list[TokenKey]:
    """Return the keys from the settings.

    Raises:
        SettingsError: no key is set, or one is not valid.
    """
    keys = []
    if settings.jwt_secret is not None:
        keys.append(_secret(settings.jwt_secret))
    if settings.jwks is not None:
        keys += _public_keys(settings.jwks)
    if not keys:
        raise SettingsError(
            "JOBTRAIL_AUTH=jwt needs JOBTRAIL_JWT_SECRET or JOBTRAIL_JWKS: set one of them "
            "(or JOBTRAIL_AUTH=dev, on a loopback address)"
        )
    return keys


def _secret(secret: str) -> TokenKey:
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except jwt.InvalidKeyError:
        raise SettingsError(
            "JOBTRAIL_JWT_SECRET: a public key is not a secret: set it as JOBTRAIL_JWKS"
        ) from None
    size = len(secret.encode())
    if size < SECRET_BYTES:
        raise SettingsError(
            f"JOBTRAIL_JWT_SECRET has {size} bytes and can be guessed: set at least {SECRET_BYTES} "
            f"random bytes, {_EXAMPLE}"
        )
    if _PLACEHOLDER.fullmatch(re.sub(r"[^a-z0-9]", "", secret.lower())):
        raise SettingsError(
            f"JOBTRAIL_JWT_SECRET is the placeholder of an example: set a secret, {_EXAMPLE}"
        )
    return TokenKey("HS256", None, secret)


def _public_keys(source: str) -> list[TokenKey]:
    """Return the usable keys of a JSON Web Key Set, which is given inline or as a file's path."""
    keys = [
        TokenKey(algorithm, jwk.get("kid"), _load(jwk, algorithm))
        for jwk in _read_set(source)
        if (algorithm := _algorithm(jwk)) is not None
    ]
    if not keys:
        raise SettingsError("JOBTRAIL_JWKS: it contains no RS256, ES256 or EdDSA signing key")
    return keys


def _read_set(source: str) -> list[Mapping[str, Any]]:
    """Return the keys in a JSON Web Key Set.

    No error message contains the source, which may be a secret.
    """
    try:
        found = orjson.loads(source if source.startswith("{") else Path(source).read_bytes())
    except (OSError, ValueError):
        raise SettingsError(
            "JOBTRAIL_JWKS: it is neither a JSON Web Key Set nor a file with one that can be read"
        ) from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not all(isinstance(jwk, dict) for jwk in keys):
        raise SettingsError('JOBTRAIL_JWKS: a JSON Web Key Set is {"keys": [{…}, …]}')
    return keys


def _algorithm(jwk: Mapping[str, Any]) -> str | None:
    """Return the algorithm of a key; None if it is for another use or algorithm."""
    if jwk.get("kty") == "oct" or "d" in jwk:
        raise SettingsError("JOBTRAIL_JWKS: it contains a secret key: set public keys only")
    kty, curve = str(jwk.get("kty")), jwk.get("crv")
    found = _ALGORITHMS.get((kty, None if curve is None else str(curve)))
    return found if jwk.get("alg", found) == found and jwk.get("use", "sig") == "sig" else None


def _load(jwk: Mapping[str, Any], algorithm: str) -> Any:
    try:
        return jwt.PyJWK(dict(jwk), algorithm).key
    except (jwt.PyJWTError, ValueError, KeyError, TypeError):
        raise SettingsError(
            f"JOBTRAIL_JWKS: key {jwk.get('kid')!r} is not a valid {algorithm} key"
        ) from None
