"""Regional external addresses: reserved, in use, given back."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from gcp_emulator import listing, operations
from gcp_emulator.errors import ApiError, OperationError, OperationFailedError, invalid, not_found
from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.instance_spec import checked_name
from gcp_emulator.instances import labels_from
from gcp_emulator.links import address_key, link, region_key, short
from gcp_emulator.outside import taken
from gcp_emulator.routes import COMPUTE, REGION, Answer, Call, Json, Route
from gcp_emulator.timing import timestamp

if TYPE_CHECKING:
    from gcp_emulator.world import World

RESERVING, RESERVED, IN_USE = "RESERVING", "RESERVED", "IN_USE"


@dataclass(slots=True)
class Address:
    """One reserved address."""

    project: str
    region: str
    name: str
    id: str
    created: datetime
    ip: str
    description: str = ""
    network_tier: str = "PREMIUM"
    labels: dict[str, str] = field(default_factory=dict)
    ready: bool = True  # no longer RESERVING
    user: str | None = None  # key of the instance that it is attached to
    gone: bool = False

    @property
    def key(self) -> str:
        """projects/P/regions/R/addresses/A."""
        return address_key(self.project, self.region, self.name)

    @property
    def status(self) -> str:
        """RESERVING, RESERVED or IN_USE; the last also while the instance is off."""
        if not self.ready:
            return RESERVING
        return IN_USE if self.user else RESERVED

    def as_json(self) -> Json:
        """Show it as the API does."""
        document: Json = {
            "kind": "compute#address",
            "id": self.id,
            "creationTimestamp": timestamp(self.created),
            "name": self.name,
            "description": self.description,
            "address": self.ip,
            "status": self.status,
            "region": link(region_key(self.project, self.region)),
            "selfLink": link(self.key),
            "networkTier": self.network_tier,
            "addressType": "EXTERNAL",
            "labelFingerprint": fingerprint(self.labels),
        }
        if self.labels:
            document["labels"] = self.labels
        if self.user:
            document["users"] = [link(self.user)]
        return document


def use(world: "World", address: Address, instance: str) -> None:
    """Attach it to an instance."""
    before, address.user = address.status, instance
    world.moved(short(address.key), before, address.status)


def release(world: "World", address: Address) -> None:
    """Detach it; it stays reserved."""
    before, address.user = address.status, None
    world.moved(short(address.key), before, address.status)


# --- requests ----------------------------------------------------------------------------------------------------


def get(world: "World", call: Call) -> Answer:
    """Show one address."""
    return _find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the addresses of a region."""
    project, region = call.params["project"], call.params["region"]
    world.check_region(project, region)
    found = [one.as_json() for one in world.addresses.values() if (one.project, one.region) == (project, region)]
    return listing.page(call, found, kind="compute#addressList", key=f"{region_key(project, region)}/addresses")


def aggregated_list(world: "World", call: Call) -> Answer:
    """Show the addresses of all regions."""
    project = world.project(call.params["project"]).id
    return listing.aggregated(
        call,
        [(f"regions/{one.region}", one.as_json()) for one in world.addresses.values() if one.project == project],
        kind="compute#addressAggregatedList",
        key=f"projects/{project}/aggregated/addresses",
        name="addresses",
        scopes=["global", *(f"regions/{region}" for region in world.regions)],
    )


def insert(world: "World", call: Call) -> Answer:
    """Reserve an address: the one asked for, or any free one."""
    project, region = call.params["project"], call.params["region"]
    world.check_region(project, region)
    document = call.document()
    name = checked_name(document)
    if (kind := document.get("addressType", "EXTERNAL")) != "EXTERNAL":
        raise invalid("resource.addressType", kind, "This emulator has external addresses only.")
    key = address_key(project, region, name)
    if key in world.addresses:
        raise ApiError(409, "alreadyExists", f"The resource '{key}' already exists")
    address = Address(project, region, name, world.new_id(), world.now, _ip(world, region, document), ready=False)
    address.description = document.get("description", "")
    address.network_tier = document.get("networkTier", "PREMIUM")
    address.labels = document.get("labels", {})
    return _reserve(world, call, address)


def _reserve(world: "World", call: Call, address: Address) -> Answer:
    operation = operations.opened(world, call, address)
    if operation.doom is None:
        world.addresses[address.key] = address
        world.moved(short(address.key), "", RESERVING)

    def end() -> None:
        if operation.doom is None:
            address.ready = True
            world.moved(short(address.key), RESERVING, RESERVED)
        operations.finish(world, operation, operation.doom)

    world.later("address", end)
    return operation.as_json()


def set_labels(world: "World", call: Call) -> Answer:
    """Replace all labels, if nobody else did since the caller read them."""
    address = _find(world, call)
    document = call.document()
    labels = labels_from(document.get("labels") or {})
    if document.get("labelFingerprint") != fingerprint(address.labels):
        message = "Labels fingerprint either invalid or resource labels have changed"
        raise ApiError(412, "conditionNotMet", message, location="If-Match", locationType="header")

    def take_effect() -> None:
        address.labels = labels
        world.changes += 1

    return operations.begin(world, call, address, "labels", take_effect)


def delete(world: "World", call: Call) -> Answer:
    """Give an address back, unless something uses it."""
    address = _find(world, call)
    if address.user:
        raise ApiError(400, "resourceInUseByAnotherResource", _used(address))

    def take_effect() -> None:
        if address.user:
            raise OperationFailedError(OperationError("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", _used(address), 400))
        del world.addresses[address.key]
        address.gone = True
        world.moved(short(address.key), address.status, "")

    return operations.begin(world, call, address, "address", take_effect)


def _used(address: Address) -> str:
    return f"The address resource '{address.key}' is already being used by '{address.user}'"


def _find(world: "World", call: Call) -> Address:
    project, region, name = call.params["project"], call.params["region"], call.params["address"]
    key = address_key(project, region, name)
    if address := world.addresses.get(key):
        return address
    world.check_region(project, region)
    raise not_found(key)


def _ip(world: "World", region: str, document: Json) -> str:
    others = taken(world)
    if wanted := document.get("address"):
        if wanted in others or not world.network.has_external(wanted):
            raise invalid("resource.address", wanted, "Specified IP address is in-use or not available.")
        return str(wanted)
    ip = world.network.next_external(others)
    if ip is None:
        raise ApiError(403, "quotaExceeded", f"Quota 'STATIC_ADDRESSES' exceeded.  Limit: 127.0 in region {region}.")
    return ip


ROUTES = (
    Route("GET", f"{COMPUTE}/aggregated/addresses", "addresses.aggregatedList", aggregated_list),
    Route("GET", f"{REGION}/addresses", "addresses.list", list_),
    Route("POST", f"{REGION}/addresses", "addresses.insert", insert),
    Route("GET", f"{REGION}/addresses/{{address}}", "addresses.get", get),
    Route("POST", f"{REGION}/addresses/{{address}}/setLabels", "addresses.setLabels", set_labels),
    Route("DELETE", f"{REGION}/addresses/{{address}}", "addresses.delete", delete),
)
