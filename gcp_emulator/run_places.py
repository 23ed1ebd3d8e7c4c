"""Where Cloud Run and Cloud Scheduler keep things: projects/P/locations/L."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gcp_emulator.errors import RpcError
from gcp_emulator.places import Project
from gcp_emulator.routes import Call

if TYPE_CHECKING:
    from gcp_emulator.world import World

PLACE = "/v2/projects/{project}/locations/{location}"


@dataclass(frozen=True, slots=True)
class Place:
    """One region of one project."""

    project: Project
    region: str

    @property
    def name(self) -> str:
        """projects/P/locations/L."""
        return f"projects/{self.project.id}/locations/{self.region}"


def place_of(world: "World", call: Call) -> Place:
    """Find the place that a request is about, whether it names the project by id or by number."""
    wanted, region = call.params["project"], call.params["location"]
    project = next((one for one in world.projects.values() if wanted in {one.id, one.number}), None)
    if project is None:
        raise RpcError(403, f"Permission denied on resource project {wanted}.")
    if region not in world.regions:
        raise RpcError(403, f"Permission denied on 'locations/{region}' (or it may not exist).")
    return Place(project, region)
