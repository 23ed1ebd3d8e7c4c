"""Google's side of tokens, for tests: keys, the set that is published of them, and tokens of any kind."""

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
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
