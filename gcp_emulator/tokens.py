"""The tokens that metadata servers hand out: access tokens say whose they are, identity tokens which VM it is."""

from hashlib import sha256
from typing import TYPE_CHECKING

from gcp_emulator.identity import ISSUER, LIFETIME_SECONDS
from gcp_emulator.instances import Instance
from gcp_emulator.routes import Json

if TYPE_CHECKING:
    from gcp_emulator.world import World

ACCESS = "ya29.emulated-"


def token_of(email: str) -> str:
    """Make an access token. Whoever shows it is taken for that account: nothing here is worth a secret."""
    return f"{ACCESS}{email}"


def email_of(token: str) -> str | None:
    """Say whose an access token is; None if it is none of this cloud's."""
    return token.removeprefix(ACCESS) if token.startswith(ACCESS) else None


def access_token(email: str) -> Json:
    """Answer as a metadata server does that is asked for an access token."""
    return {"access_token": token_of(email), "expires_in": LIFETIME_SECONDS - 1, "token_type": "Bearer"}


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
