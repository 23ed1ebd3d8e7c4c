"""Which permissions there are, which gcloud asks before it makes a role; those of Google's own roles; who has which."""

from typing import TYPE_CHECKING

from gcp_emulator import instances, policies
from gcp_emulator.errors import RpcError
from gcp_emulator.needs import BESIDES
from gcp_emulator.permissions import permission_of
from gcp_emulator.predefined_roles import PREDEFINED
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.rpc import body_of, page_of

if TYPE_CHECKING:
    from gcp_emulator.world import World


def query(world: "World", call: Call) -> Answer:
    """List the permissions that methods here ask for; all of them can be in a custom role."""
    document = body_of(call)
    asked = {"pageSize": str(document.get("pageSize", 0)), "pageToken": document.get("pageToken", "")}
    return page_of(asked, "permissions", [{"name": name, "stage": "GA"} for name in _known(world)])


def on_instance(world: "World", call: Call) -> Answer:
    """Say which of these permissions the caller has on a VM."""
    key, asked = instances.find(world, call).key, call.document().get("permissions") or []
    have = [one for one in asked if policies.allowed(world, call.principal, one, key)]
    return {"permissions": have} if have else {}


def predefined(world: "World", call: Call) -> Answer:
    """Show a role of Google's own, with those of its permissions that methods here ask for."""
    name = f"roles/{call.params['role']}"
    if name not in PREDEFINED:
        raise RpcError(404, f"The role named {name} was not found.")
    included = [one for one in _known(world) if policies.has_permission(world, name, one)]
    shown = {"name": name, "title": name.removeprefix("roles/"), "stage": "GA", "etag": "AA=="}
    return shown | ({"includedPermissions": included} if included else {})


def _known(world: "World") -> list[str]:
    verbs = (verb for verb in world.faults.verbs if not verb.startswith("metadata."))
    return sorted({permission for verb in verbs if (permission := permission_of(verb))} | BESIDES)


ROUTES = (
    Route("GET", "/v1/roles/{role}", "iam.roles.getPredefined", predefined),
    Route("POST", "/v1/permissions:queryTestablePermissions", "iam.permissions.query", query),
    Route("POST", f"{instances.ONE}/testIamPermissions", "instances.testIamPermissions", on_instance),
)
