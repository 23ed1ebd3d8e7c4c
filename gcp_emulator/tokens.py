"""The tokens that a VM gets for its service account, and the form of those that service accounts get elsewhere."""

from hashlib import sha256
from typing import TYPE_CHECKING

from gcp_emulator.identity import ISSUER, LIFETIME_SECONDS
from gcp_emulator.instances import Instance
from gcp_emulator.routes import Json

if TYPE_CHECKING:
    from gcp_emulator.world import World

PREFIX = "ya29.emulated-"


def token_of(email: str) -> str:
    """Make an access token of this account: it says whose it is, so that whoever meets it can tell."""
    return PREFIX + email


def access_token(world: "World", vm: Instance) -> Json:
    """Make an access token; the emulator looks at none, so it opens nothing."""
    mark = sha256(f"{vm.id}/{int(world.now.timestamp()) // LIFETIME_SECONDS}".encode()).hexdigest()
    return {"access_token": f"ya29.emulated-{mark[:40]}", "expires_in": LIFETIME_SECONDS - 1, "token_type": "Bearer"}


def identity_claims(world: "World", vm: Instance, audience: str, *, full: bool) -> Json:
    """List what Google says of this VM; `format=full` adds which VM it is."""
    issued = int(world.now.timestamp())
    subject = str(int(sha256(vm.service_account.encode()).hexdigest()[:16], 16))
    claims: Json = {
        "aud": audience,
        "azp": subject,
        "exp": issued + LIFETIME_SECONDS,
        "iat": issued,
        "iss": ISSUER,
        "sub": subject,
    }
    if not full:
        return claims
    project = world.projects[vm.project]
    engine: Json = {
        "instance_creation_timestamp": int(vm.created.timestamp()),
        "instance_id": vm.id,
        "instance_name": vm.name,
        "project_id": project.id,
        "project_number": int(project.number),
        "zone": vm.zone,
    }
    return {**claims, "email": vm.service_account, "email_verified": True, "google": {"compute_engine": engine}}
