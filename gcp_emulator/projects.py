"""Resource Manager: the project and its policy, in v1 and v3."""

from typing import TYPE_CHECKING

from gcp_emulator import policies
from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.rpc import etag

if TYPE_CHECKING:
    from gcp_emulator.places import Project
    from gcp_emulator.world import World

CREATED = "2014-05-31T02:35:16.514000Z"


def get_v1(world: "World", call: Call) -> Answer:
    """Show the project as v1 does."""
    project = _find(world, call)
    return {
        "projectNumber": project.number,
        "projectId": project.id,
        "lifecycleState": "ACTIVE",
        "name": project.id,
        "createTime": CREATED,
    }


def get_v3(world: "World", call: Call) -> Answer:
    """Show the project as v3 does."""
    project = _find(world, call)
    return {
        "name": f"projects/{project.number}",
        "projectId": project.id,
        "state": "ACTIVE",
        "displayName": project.id,
        "createTime": CREATED,
        "updateTime": CREATED,
        "etag": f'W/"{etag(project.id)}"',
    }


def _find(world: "World", call: Call) -> "Project":
    wanted = call.params["project"]
    for project in world.projects.values():
        if wanted in {project.id, project.number}:
            return project
    raise RpcError(403, "The caller does not have permission")  # so nobody learns which projects exist


def _find_key(world: "World", call: Call) -> str:
    return f"projects/{_find(world, call).id}"


V1, V3 = "/v1/projects/{project}", "/v3/projects/{project}"
ROUTES = (
    Route("GET", V1, "resourcemanager.projects.get", get_v1),
    Route("GET", V3, "resourcemanager.projects.get", get_v3),
    *policies.routes(V1, "resourcemanager.projects", _find_key, get_by="POST"),
    *policies.routes(V3, "resourcemanager.projects", _find_key, get_by="POST"),
)
