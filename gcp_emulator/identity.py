"""Google's side of identity tokens: RS256 JWTs signed by the emulator's own key, and the certificates to check them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, Self

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://accounts.google.com"
LIFETIME_SECONDS = 3600  # Google's tokens expire within one hour


class Signer:
    """Signs as accounts.google.com would, and publishes its public key in both of Google's forms."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    @classmethod
    def new(cls) -> Self:
        """Make a fresh key: the only thing in the model's files that is not pure, so the door does it."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Use this key, for tokens that can be reproduced."""
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("identity tokens are RS256: the key must be RSA")
        return cls(key)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Sign these claims as they are."""
        return jwt.encode(dict(claims), self._key, algorithm="RS256", headers={"kid": self.key_id})

    @cached_property
    def key_id(self) -> str:
        """The `kid` that a token's header names and the certificates are listed under."""
        public = self._key.public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()[:40]

    @cached_property
    def jwks(self) -> Mapping[str, Any]:
        """As served at /oauth2/v3/certs."""
        key = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        return {
            "keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.key_id, "n": key["n"], "e": key["e"]}]
        }

    @cached_property
    def certificates(self) -> Mapping[str, str]:
        """As served at /oauth2/v1/certs: key id -> self-signed certificate in PEM."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federated-signon.system.gserviceaccount.com")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))  # no clock here, and virtual time must fit in too
            .not_valid_after(datetime(2099, 12, 31, tzinfo=UTC))
            .sign(self._key, hashes.SHA256())
        )
        return {self.key_id: certificate.public_bytes(serialization.Encoding.PEM).decode()}
