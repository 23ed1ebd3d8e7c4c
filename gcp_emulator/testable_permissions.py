"""Which permissions there are, which gcloud asks before it makes a role; and which somebody has on a VM."""

from typing import TYPE_CHECKING

from gcp_emulator import instances, policies
from gcp_emulator.needs import BESIDES
from gcp_emulator.permissions import permission_of
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


def on_instance(world: "World", call: Call) -> Answer:
    """Say which of these permissions the caller has on a VM."""
    key, asked = instances.find(world, call).key, call.document().get("permissions") or []
    have = [one for one in asked if policies.allowed(world, call.principal, one, key)]
    return {"permissions": have} if have else {}


ROUTES = (
    Route("POST", "/v1/permissions:queryTestablePermissions", "iam.permissions.query", query),
    Route("POST", f"{instances.ONE}/testIamPermissions", "instances.testIamPermissions", on_instance),
)
