"""Boot disks, to read only: libcloud looks at each instance's own."""

from typing import TYPE_CHECKING

from gcp_emulator import listing
from gcp_emulator.errors import not_found
from gcp_emulator.instances import Instance
from gcp_emulator.links import instance_key, link
from gcp_emulator.routes import COMPUTE, ZONE, Answer, Call, Json, Route
from gcp_emulator.timing import timestamp

if TYPE_CHECKING:
    from gcp_emulator.world import World


def get(world: "World", call: Call) -> Answer:
    """Show the boot disk of the instance of this name."""
    project, zone, name = call.params["project"], call.params["zone"], call.params["disk"]
    world.check_zone(project, zone)
    if vm := world.instances.get(instance_key(project, zone, name)):
        return _as_json(vm)
    raise not_found(f"projects/{project}/zones/{zone}/disks/{name}")


def aggregated_list(world: "World", call: Call) -> Answer:
    """Show the boot disks of all zones."""
    project = world.project(call.params["project"]).id
    return listing.aggregated(
        call,
        [(f"zones/{vm.zone}", _as_json(vm)) for vm in world.instances.values() if vm.project == project],
        kind="compute#diskAggregatedList",
        key=f"projects/{project}/aggregated/disks",
        name="disks",
        scopes=[f"zones/{zone}" for zones in world.regions.values() for zone in zones],
    )


def _as_json(vm: Instance) -> Json:
    zone = f"projects/{vm.project}/zones/{vm.zone}"
    return {
        "kind": "compute#disk",
        "id": str(int(vm.id) + 1),
        "creationTimestamp": timestamp(vm.created),
        "name": vm.name,
        "sizeGb": "50",
        "zone": link(zone),
        "status": "READY",
        "selfLink": link(f"{zone}/disks/{vm.name}"),
        "type": link(f"{zone}/diskTypes/pd-balanced"),
        "users": [link(vm.key)],
        "physicalBlockSizeBytes": "4096",
    }


ROUTES = (
    Route("GET", f"{COMPUTE}/aggregated/disks", "disks.aggregatedList", aggregated_list),
    Route("GET", f"{ZONE}/disks/{{disk}}", "disks.get", get),
)
