"""Boot disks: each instance has one of its own name; one that outlives its instance can be looked at and deleted."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gcp_emulator import listing, operations
from gcp_emulator.errors import ApiError, not_found
from gcp_emulator.instances import Instance
from gcp_emulator.links import disk_key, instance_key, link, short
from gcp_emulator.routes import COMPUTE, ZONE, Answer, Call, Json, Route
from gcp_emulator.timing import timestamp
from gcp_emulator.wire import EraseDisk

if TYPE_CHECKING:
    from gcp_emulator.world import World


@dataclass(slots=True)
class Disk:
    """A boot disk, of an instance that is there or of one that was."""

    project: str
    zone: str
    name: str
    id: str
    created: datetime
    size_gb: int
    of: str  # key of its instance
    user: str | None = None  # the same key, while that exists
    gone: bool = False

    @property
    def key(self) -> str:
        """projects/P/zones/Z/disks/D."""
        return disk_key(self.project, self.zone, self.name)

    def as_json(self) -> Json:
        """Show it as the API does."""
        zone = f"projects/{self.project}/zones/{self.zone}"
        document: Json = {
            "kind": "compute#disk",
            "id": self.id,
            "creationTimestamp": timestamp(self.created),
            "name": self.name,
            "sizeGb": str(self.size_gb),
            "zone": link(zone),
            "status": "READY",
            "selfLink": link(self.key),
            "type": link(f"{zone}/diskTypes/pd-balanced"),
            "physicalBlockSizeBytes": "4096",
        }
        return {**document, "users": [link(self.user)]} if self.user else document


def _of(vm: Instance) -> Disk:
    number = str(int(vm.id) + 1)
    return Disk(vm.project, vm.zone, vm.name, number, vm.created, vm.disk_gb, of=vm.key, user=vm.key)


def _all(world: "World", project: str) -> list[Disk]:
    disks = [*map(_of, world.instances.values()), *world.disks.values()]
    return [disk for disk in disks if disk.project == project]


# --- requests ----------------------------------------------------------------------------------------------------


def get(world: "World", call: Call) -> Answer:
    """Show one disk."""
    return _find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the disks of a zone."""
    project, zone = call.params["project"], call.params["zone"]
    world.check_zone(project, zone)
    found = [disk.as_json() for disk in _all(world, project) if disk.zone == zone]
    return listing.page(call, found, kind="compute#diskList", key=f"projects/{project}/zones/{zone}/disks")


def aggregated_list(world: "World", call: Call) -> Answer:
    """Show the disks of all zones."""
    project = world.project(call.params["project"]).id
    return listing.aggregated(
        call,
        [(f"zones/{disk.zone}", disk.as_json()) for disk in _all(world, project)],
        kind="compute#diskAggregatedList",
        key=f"projects/{project}/aggregated/disks",
        name="disks",
        scopes=[f"zones/{zone}" for zones in world.regions.values() for zone in zones],
    )


def delete(world: "World", call: Call) -> Answer:
    """Delete a disk that no instance uses."""
    disk = _find(world, call)
    if disk.user:
        message = f"The disk resource '{disk.key}' is already being used by '{disk.user}'"
        raise ApiError(400, "resourceInUseByAnotherResource", message)

    def take_effect() -> None:
        del world.disks[disk.key]
        disk.gone = True
        world.effects.append(EraseDisk(disk.of))
        world.moved(short(disk.key), "READY", "")

    return operations.begin(world, call, disk, "disk", take_effect)


def _find(world: "World", call: Call) -> Disk:
    project, zone, name = call.params["project"], call.params["zone"], call.params["disk"]
    world.check_zone(project, zone)
    key = disk_key(project, zone, name)
    if disk := world.disks.get(key):
        return disk
    if vm := world.instances.get(instance_key(project, zone, name)):
        return _of(vm)
    raise not_found(key)


ONE = f"{ZONE}/disks/{{disk}}"
ROUTES = (
    Route("GET", f"{COMPUTE}/aggregated/disks", "disks.aggregatedList", aggregated_list),
    Route("GET", f"{ZONE}/disks", "disks.list", list_),
    Route("GET", ONE, "disks.get", get),
    Route("DELETE", ONE, "disks.delete", delete),
)
