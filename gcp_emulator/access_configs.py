"""Access configs: nic0's external address, put on and taken off."""

from typing import TYPE_CHECKING

from gcp_emulator import operations
from gcp_emulator.addresses import Address, release, use
from gcp_emulator.errors import ApiError, OperationError, OperationFailedError, invalid, not_ready
from gcp_emulator.instances import ONE, STOPPING, AccessConfig, Instance, find, touched
from gcp_emulator.outside import connect, disconnect
from gcp_emulator.routes import Answer, Call, Json, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World

DEFAULT_NAME = "External NAT"


def add(world: "World", call: Call) -> Answer:
    """Give nic0 an external address: a reserved one by natIP, or else an ephemeral one."""
    vm = _instance(world, call)
    document = call.document()
    if (kind := document.get("type", "ONE_TO_ONE_NAT")) != "ONE_TO_ONE_NAT":
        raise invalid("resource.type", kind, "Must be ONE_TO_ONE_NAT.")
    _refuse_what_shows_at_once(world, vm, document)

    def take_effect() -> None:
        _refuse_what_shows_late(world, vm, document)
        address = reserved_address(world, vm, document.get("natIP"))
        name, tier = document.get("name", DEFAULT_NAME), document.get("networkTier", "PREMIUM")
        vm.access_config = AccessConfig(name, address.ip if address else None, address is not None, tier)
        if address:
            use(world, address, vm.key)
        connect(world, vm)
        touched(world, vm)

    return operations.begin(world, call, vm, "access_config", take_effect)


def delete(world: "World", call: Call) -> Answer:
    """Take the access config off nic0; a reserved address stays reserved."""
    vm = _instance(world, call)
    name = call.required("accessConfig")
    if vm.access_config is None or vm.access_config.name != name:
        raise invalid("accessConfig", name, "The network interface has no access config of this name.")

    def take_effect() -> None:
        if vm.access_config is None or vm.access_config.name != name:
            message = f"The network interface has no access config '{name}'."
            raise OperationFailedError(OperationError("INVALID_FIELD_VALUE", message, 400))
        address = reserved_address(world, vm, vm.access_config.nat_ip) if vm.access_config.reserved else None
        disconnect(world, vm)
        vm.access_config = None
        if address:
            release(world, address)
        touched(world, vm)

    return operations.begin(world, call, vm, "access_config", take_effect)


def _instance(world: "World", call: Call) -> Instance:
    vm = find(world, call)
    if (nic := call.required("networkInterface")) != "nic0":
        raise invalid("networkInterface", nic, "The instance has no such network interface.")
    if vm.status == STOPPING and world.knobs.access_config_while_stopping == "refuse":
        raise not_ready(vm.key)
    return vm


# --- what stands against an access config ------------------------------------------------------------------------


def _refuse_what_shows_at_once(world: "World", vm: Instance, document: Json) -> None:
    if vm.access_config and world.knobs.second_access_config == "reply":
        raise _second()
    address = reserved_address(world, vm, document.get("natIP"))
    if address and address.user and world.knobs.address_in_use == "reply":
        raise in_use(world, address)


def _refuse_what_shows_late(world: "World", vm: Instance, document: Json) -> None:
    """Look again when the operation takes effect: others may have been quicker."""
    try:
        if vm.access_config:
            raise _second()
        address = reserved_address(world, vm, document.get("natIP"))
        if address and address.user:
            raise in_use(world, address)
    except ApiError as refused:
        raise OperationFailedError(as_operation_error(refused)) from refused


def _second() -> ApiError:
    return ApiError(400, "badRequest", "At most one access config currently supported.")


def in_use(world: "World", address: Address) -> ApiError:
    """Another instance has this address."""
    message = f"IP '{address.ip}' is already being used by another resource."
    return ApiError(world.knobs.address_in_use_status, "IP_IN_USE_BY_ANOTHER_RESOURCE", message)


def as_operation_error(refused: ApiError) -> OperationError:
    """Say in an operation what could have been said at once."""
    code = {"badRequest": "BAD_REQUEST", "invalid": "INVALID_FIELD_VALUE"}.get(refused.reason, refused.reason)
    return OperationError(code, refused.message, refused.status)


def reserved_address(world: "World", vm: Instance, ip: str | None, place: str = "resource.natIP") -> Address | None:
    """Find the reserved address behind a natIP; none asked for is fine, one that is not reserved here is not."""
    if not ip:
        return None
    region = world.region_of(vm.zone)
    for address in world.addresses.values():
        if address.ip == ip and (address.project, address.region) == (vm.project, region) and address.ready:
            return address
    why = f"The specified external IP address '{ip}' was not found in region '{region}'."
    raise invalid(place, ip, why)


ROUTES = (
    Route("POST", f"{ONE}/addAccessConfig", "instances.addAccessConfig", add),
    Route("POST", f"{ONE}/deleteAccessConfig", "instances.deleteAccessConfig", delete),
)
