"""IAM: which permissions there are. gcloud asks before it makes a role."""

from typing import TYPE_CHECKING

from gcp_emulator.permissions import BESIDES, permission_of
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.rpc import body_of, page_of

if TYPE_CHECKING:
    from gcp_emulator.world import World


def query(world: "World", call: Call) -> Answer:
    """List the permissions that methods here ask for; all of them can be in a custom role."""
    verbs = (verb for verb in world.faults.verbs if not verb.startswith("metadata."))
    named = {permission for verb in verbs if (permission := permission_of(verb))} | BESIDES
    document = body_of(call)
    asked = {"pageSize": str(document.get("pageSize", 0)), "pageToken": document.get("pageToken", "")}
    return page_of(asked, "permissions", [{"name": name, "stage": "GA"} for name in sorted(named)])


ROUTES = (Route("POST", "/v1/permissions:queryTestablePermissions", "iam.permissions.query", query),)
