"""The keys that tokens may be signed with, each tied to one algorithm before any token is seen.

A token's header may choose among these keys; it never chooses what is done with one.
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

_PINNED = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""The one algorithm of each type (and curve) of public key."""


SECRET_BYTES = 32
"""As long as the hash of HS256 (RFC 7518, section 3.2)."""

_MAKE_ONE = "for example of: openssl rand -base64 48"
_PLACEHOLDER = re.compile(
    r"secretof32bytesormoreorsetjobtrailjwks|astringsecretatleast256bitslong"
    r"|(changeme|changethis|replaceme|replacethis|placeholder|your(jwt)?secret(key)?(here)?)+"
)
"""Letters and digits of what examples, ours and others', have in the place of a secret."""


class TokenKey(NamedTuple):
    """A key and the only algorithm that it verifies."""

    algorithm: str
    key_id: str | None
    """Tokens that name another are not for this key."""
    key: Any

    def fits(self, header: Mapping[str, Any]) -> bool:
        """Whether a token with this header may have been signed with the key."""
        named = header.get("kid")
        return header.get("alg") == self.algorithm and (
            named is None or self.key_id is None or named == self.key_id
        )


def token_keys(settings: Settings) -> list[TokenKey]:
    """Give the keys that the settings name.

    Raises:
        SettingsError: there is none, or what is given cannot be one.
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
            f"random bytes, {_MAKE_ONE}"
        )
    if _PLACEHOLDER.fullmatch(re.sub(r"[^a-z0-9]", "", secret.lower())):
        raise SettingsError(
            f"JOBTRAIL_JWT_SECRET is the placeholder of an example: set a secret, {_MAKE_ONE}"
        )
    return TokenKey("HS256", None, secret)


def _public_keys(source: str) -> list[TokenKey]:
    """Read a set given inline or as a file; keys for other uses and algorithms are passed over."""
    keys = [
        TokenKey(algorithm, jwk.get("kid"), _load(jwk, algorithm))
        for jwk in _read_set(source)
        if (algorithm := _algorithm(jwk)) is not None
    ]
    if not keys:
        raise SettingsError("JOBTRAIL_JWKS: there is no RS256, ES256 or EdDSA signing key in it")
    return keys


def _read_set(source: str) -> list[Mapping[str, Any]]:
    """Read the set's members; the message of an error never repeats what was given."""
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
    """Give the algorithm that the key is for; None where it is not one of ours."""
    if jwk.get("kty") == "oct" or "d" in jwk:
        raise SettingsError("JOBTRAIL_JWKS: there is a secret key in it: give public keys only")
    kty, curve = str(jwk.get("kty")), jwk.get("crv")
    pinned = _PINNED.get((kty, None if curve is None else str(curve)))
    return pinned if jwk.get("alg", pinned) == pinned and jwk.get("use", "sig") == "sig" else None


def _load(jwk: Mapping[str, Any], algorithm: str) -> Any:
    try:
        return jwt.PyJWK(dict(jwk), algorithm).key
    except (jwt.PyJWTError, ValueError, KeyError, TypeError):
        raise SettingsError(
            f"JOBTRAIL_JWKS: key {jwk.get('kid')!r} is no valid key for {algorithm}"
        ) from None
