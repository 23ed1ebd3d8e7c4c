"""instances.insert: from a whole body, or from an instance template and what the body says otherwise.

PROVISIONING -> STAGING -> RUNNING
     \\-> gone (no capacity: the operation says so, and the instance was never there)
"""

from typing import TYPE_CHECKING

from gcp_emulator import addresses, operations, templates
from gcp_emulator.access_configs import DEFAULT_NAME, as_operation_error, in_use, reserved_address
from gcp_emulator.addresses import Address
from gcp_emulator.errors import ApiError, invalid
from gcp_emulator.instance_spec import check_machine_type, instance_from, merged
from gcp_emulator.instances import PROVISIONING, AccessConfig, Instance
from gcp_emulator.links import disk_key, instance_key
from gcp_emulator.operations import Operation
from gcp_emulator.power import stage
from gcp_emulator.removal import vanish
from gcp_emulator.routes import ZONE, Answer, Call, Json, Route
from gcp_emulator.turns import end_turn, move, take_turn

if TYPE_CHECKING:
    from gcp_emulator.world import World

NAT_IP = "resource.networkInterfaces[0].accessConfigs[0].natIP"


def insert(world: "World", call: Call) -> Answer:
    """Make an instance and switch it on."""
    project, zone = call.params["project"], call.params["zone"]
    world.check_zone(project, zone)
    document = _document(world, call)
    if name := document.get("name"):
        _refuse_a_name_in_use(world, project, zone, str(name))
    vm = instance_from(world, world.project(project), zone, document)
    vm.access_config, address = _access_config(world, vm, document)
    if address and address.user and world.knobs.address_in_use == "reply":
        raise in_use(world, address)
    operation = operations.opened(world, call, vm)
    world.instances[vm.key] = vm
    if address:
        _take(world, vm, address, operation)
    return take_turn(world, vm, operation, _begin_insert).as_json()


def _document(world: "World", call: Call) -> Json:
    body = call.document()
    check_machine_type(body, call.params["zone"])
    if (url := call.query.get("sourceInstanceTemplate")) is None:
        return body
    template = templates.meant_by(world, call.params["project"], url)
    document: Json = merged(template.properties, body)
    return document


def _refuse_a_name_in_use(world: "World", project: str, zone: str, name: str) -> None:
    vm, disk = instance_key(project, zone, name), disk_key(project, zone, name)
    if taken := vm if vm in world.instances else disk if disk in world.disks else None:
        raise ApiError(409, "alreadyExists", f"The resource '{taken}' already exists")


def _access_config(world: "World", vm: Instance, document: Json) -> tuple[AccessConfig | None, Address | None]:
    given = document["networkInterfaces"][0].get("accessConfigs") or []
    if not given:
        return None, None
    [config] = given
    if (kind := config.get("type", "ONE_TO_ONE_NAT")) != "ONE_TO_ONE_NAT":
        raise invalid("resource.networkInterfaces[0].accessConfigs[0].type", kind, "Must be ONE_TO_ONE_NAT.")
    address = reserved_address(world, vm, config.get("natIP"), NAT_IP)
    name, tier = config.get("name", DEFAULT_NAME), config.get("networkTier", "PREMIUM")
    return AccessConfig(name, address.ip if address else None, address is not None, tier), address


def _take(world: "World", vm: Instance, address: Address, operation: Operation) -> None:
    """The address is its own from the first moment, or else the operation will say whose it is."""
    if address.user:
        operation.doom = operation.doom or as_operation_error(in_use(world, address))
    else:
        addresses.use(world, address, vm.key)


def _begin_insert(world: "World", vm: Instance, operation: Operation) -> None:
    move(world, vm, PROVISIONING)

    def provisioned() -> None:
        if operation.doom:
            vanish(world, vm, never_was=True)
            end_turn(world, vm, operation, operation.doom)
        else:
            stage(world, vm, operation)

    world.later("provisioning", provisioned)


ROUTES = (Route("POST", f"{ZONE}/instances", "instances.insert", insert),)
