"""Google's public keys for identity tokens, in both of its forms."""

from typing import TYPE_CHECKING

from gcp_emulator.errors import ApiError
from gcp_emulator.identity import Signer
from gcp_emulator.routes import Answer, Call, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World


def pem_certificates(world: "World", _call: Call) -> Answer:
    """Map key ids to X.509 certificates: what google-auth asks for by default."""
    return dict(_signer(world).certificates)


def key_set(world: "World", _call: Call) -> Answer:
    """Give the keys as a JWK set."""
    return dict(_signer(world).jwks)


def _signer(world: "World") -> Signer:
    if world.signer is None:
        raise ApiError(503, "backendError", "This emulated cloud was given no key to sign with.")
    return world.signer


ROUTES = (
    Route("GET", "/oauth2/v1/certs", "certs.pem", pem_certificates),
    Route("GET", "/oauth2/v3/certs", "certs.jwks", key_set),
)
