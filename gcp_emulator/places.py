"""Projects, regions and zones."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from gcp_emulator import listing, quotas
from gcp_emulator.errors import not_found
from gcp_emulator.instance_body import metadata_as_json
from gcp_emulator.links import link, region_key, zone_key
from gcp_emulator.routes import COMPUTE, REGION, ZONE, Answer, Call, Json, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World

BEGINNING = "2014-05-30T18:35:16.514-08:00"


@dataclass(slots=True)
class Project:
    """One project."""

    id: str
    number: str
    metadata: dict[str, str] = field(default_factory=dict)
    apis: list[str] | None = None  # those that are enabled, such as `compute`; None: all of them
    quotas: dict[str, float] = field(default_factory=dict)  # limits that are not the usual ones

    @property
    def service_account(self) -> str:
        """Its Compute Engine default service account."""
        return f"{self.number}-compute@developer.gserviceaccount.com"

    def as_json(self) -> Json:
        """Show it as the API does."""
        return {
            "kind": "compute#project",
            "id": self.number,
            "creationTimestamp": BEGINNING,
            "name": self.id,
            "commonInstanceMetadata": metadata_as_json(self.metadata),
            "selfLink": link(f"projects/{self.id}"),
            "defaultServiceAccount": self.service_account,
            "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
            "defaultNetworkTier": "PREMIUM",
        }


def _zone_as_json(world: "World", project: str, zone: str) -> Json:
    return {
        "kind": "compute#zone",
        "id": _id(zone),
        "creationTimestamp": BEGINNING,
        "name": zone,
        "description": zone,
        "status": "UP",
        "region": link(region_key(project, world.region_of(zone))),
        "selfLink": link(zone_key(project, zone)),
        "availableCpuPlatforms": ["Intel Broadwell", "Intel Skylake"],
        "supportsPzs": False,
    }


def _region_as_json(world: "World", project: str, region: str) -> Json:
    return {
        "kind": "compute#region",
        "id": _id(region),
        "creationTimestamp": BEGINNING,
        "name": region,
        "description": region,
        "status": "UP",
        "zones": [link(zone_key(project, zone)) for zone in world.regions[region]],
        "quotas": quotas.regional(world, project, region),
        "selfLink": link(region_key(project, region)),
        "supportsPzs": False,
    }


def _id(name: str) -> str:
    return str(2000 + int(sha256(name.encode()).hexdigest()[:4], 16))


# --- requests ----------------------------------------------------------------------------------------------------


def get_project(world: "World", call: Call) -> Answer:
    """Show the project."""
    project = world.project(call.params["project"])
    return {**project.as_json(), "quotas": quotas.everywhere(world, project.id)}


def get_zone(world: "World", call: Call) -> Answer:
    """Show a zone."""
    project, zone = world.project(call.params["project"]).id, call.params["zone"]
    if not any(zone in zones for zones in world.regions.values()):
        raise not_found(zone_key(project, zone))
    return _zone_as_json(world, project, zone)


def get_region(world: "World", call: Call) -> Answer:
    """Show a region."""
    project, region = world.project(call.params["project"]).id, call.params["region"]
    if region not in world.regions:
        raise not_found(region_key(project, region))
    return _region_as_json(world, project, region)


def list_zones(world: "World", call: Call) -> Answer:
    """Show all zones."""
    project = world.project(call.params["project"]).id
    found = [_zone_as_json(world, project, zone) for zones in world.regions.values() for zone in zones]
    return listing.page(call, found, kind="compute#zoneList", key=f"projects/{project}/zones")


def list_regions(world: "World", call: Call) -> Answer:
    """Show all regions."""
    project = world.project(call.params["project"]).id
    found = [_region_as_json(world, project, region) for region in world.regions]
    return listing.page(call, found, kind="compute#regionList", key=f"projects/{project}/regions")


ROUTES = (
    Route("GET", COMPUTE, "projects.get", get_project),
    Route("GET", f"{COMPUTE}/zones", "zones.list", list_zones),
    Route("GET", ZONE, "zones.get", get_zone),
    Route("GET", f"{COMPUTE}/regions", "regions.list", list_regions),
    Route("GET", REGION, "regions.get", get_region),
)
