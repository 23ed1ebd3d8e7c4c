"""The network that every project begins with, `default`, with a subnetwork in each region. There are no others."""

from hashlib import sha256
from typing import TYPE_CHECKING

from gcp_emulator import listing
from gcp_emulator.errors import not_found
from gcp_emulator.links import key_of, link, region_key
from gcp_emulator.places import BEGINNING
from gcp_emulator.routes import GLOBAL, REGION, Answer, Call, Json, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World

DEFAULT = "default"


def network_meant_by(world: "World", project: str, url: str | None) -> str:
    """Give the key of the network that a URL means; without one it is the default."""
    key = key_of(url or f"projects/{project}/global/networks/{DEFAULT}")
    if not key.startswith("projects/"):
        key = f"projects/{project}/{key.lstrip('/')}"
    owner, _, name = key.removeprefix("projects/").partition("/global/networks/")
    if owner in world.projects and name == DEFAULT:
        return key
    raise not_found(key)


def _network(world: "World", project: str) -> Json:
    key = f"projects/{project}/global/networks/{DEFAULT}"
    return {
        "kind": "compute#network",
        "id": _id(key),
        "creationTimestamp": BEGINNING,
        "name": DEFAULT,
        "description": "Default network for the project",
        "selfLink": link(key),
        "autoCreateSubnetworks": True,
        "subnetworks": [link(_subnetwork_key(project, region)) for region in world.regions],
        "routingConfig": {"routingMode": "REGIONAL"},
        "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
    }


def _subnetwork(world: "World", project: str, region: str) -> Json:
    number = list(world.regions).index(region)
    return {
        "kind": "compute#subnetwork",
        "id": _id(f"{project}/{region}"),
        "creationTimestamp": BEGINNING,
        "name": DEFAULT,
        "network": link(f"projects/{project}/global/networks/{DEFAULT}"),
        "ipCidrRange": f"10.{128 + 2 * number}.0.0/20",
        "gatewayAddress": f"10.{128 + 2 * number}.0.1",
        "region": link(region_key(project, region)),
        "selfLink": link(_subnetwork_key(project, region)),
        "privateIpGoogleAccess": False,
        "purpose": "PRIVATE",
        "stackType": "IPV4_ONLY",
    }


def _subnetwork_key(project: str, region: str) -> str:
    return f"{region_key(project, region)}/subnetworks/{DEFAULT}"


def _id(key: str) -> str:
    return str(10**18 + int(sha256(key.encode()).hexdigest()[:12], 16))


# --- requests ----------------------------------------------------------------------------------------------------


def get(world: "World", call: Call) -> Answer:
    """Show a network."""
    project = world.project(call.params["project"]).id
    network_meant_by(world, project, f"global/networks/{call.params['network']}")
    return _network(world, project)


def list_(world: "World", call: Call) -> Answer:
    """Show the project's networks."""
    project = world.project(call.params["project"]).id
    key = f"projects/{project}/global/networks"
    return listing.page(call, [_network(world, project)], kind="compute#networkList", key=key)


def get_subnetwork(world: "World", call: Call) -> Answer:
    """Show a subnetwork."""
    project, region, name = call.params["project"], call.params["region"], call.params["subnetwork"]
    world.check_region(project, region)
    if name != DEFAULT:
        raise not_found(f"{region_key(project, region)}/subnetworks/{name}")
    return _subnetwork(world, project, region)


def list_subnetworks(world: "World", call: Call) -> Answer:
    """Show the subnetworks of a region."""
    project, region = call.params["project"], call.params["region"]
    world.check_region(project, region)
    key = f"{region_key(project, region)}/subnetworks"
    return listing.page(call, [_subnetwork(world, project, region)], kind="compute#subnetworkList", key=key)


ROUTES = (
    Route("GET", f"{GLOBAL}/networks", "networks.list", list_),
    Route("GET", f"{GLOBAL}/networks/{{network}}", "networks.get", get),
    Route("GET", f"{REGION}/subnetworks", "subnetworks.list", list_subnetworks),
    Route("GET", f"{REGION}/subnetworks/{{subnetwork}}", "subnetworks.get", get_subnetwork),
)
