"""Google's side of tokens, for tests: keys, the set that is published of them, and tokens of any kind."""

import base64
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "//compute.googleapis.com/projects/demo/zones/us-central1-a/instances/gpu-vm"
CALLER = "mayfly@demo.iam.gserviceaccount.com"
NOON = 1_900_000_000.0  # unix seconds


class SigningKey:
    """One RSA key, and what is signed with it."""

    def __init__(self, name: str = "k1") -> None:
        self.name = name
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def published(self) -> dict[str, Any]:
        """As in the set at /oauth2/v3/certs."""
        return {**json.loads(RSAAlgorithm.to_jwk(self.private.public_key())), "kid": self.name, "alg": "RS256"}

    def token(self, now: float = NOON, **different: Any) -> str:
        """A good token, but for what is `different`; None leaves a claim out."""
        return jwt.encode(claims(now, **different), self.private, "RS256", {"kid": self.name})

    def forged(self, algorithm: str, secret: bytes = b"", **different: Any) -> str:
        """Under this key's name, but signed in another way, with what anybody can have."""
        parts = ({"alg": algorithm, "typ": "JWT", "kid": self.name}, claims(**different))
        signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
        mac = b"" if algorithm == "none" else hmac.digest(secret or self.pem(), signed, "sha256")
        return b".".join([signed, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()

    def pem(self) -> bytes:
        """The public half."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(now: float = NOON, **different: Any) -> dict[str, Any]:
    """What Google says of a caller, but for what is `different`."""
    good = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "sub": "1234",
        "email": CALLER,
        "email_verified": True,
        "iat": int(now),
        "exp": int(now) + 3600,
    }
    return {name: value for name, value in (good | different).items() if value is not None}


def key_set(*keys: SigningKey) -> bytes:
    """What Google publishes of these keys."""
    return json.dumps({"keys": [key.published() for key in keys]}).encode()
