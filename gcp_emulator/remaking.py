"""What of an instance can be changed while it is off: machine type and service account. Tags, at any time."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gcp_emulator import operations
from gcp_emulator.errors import ApiError, OperationError, OperationFailedError
from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.instance_spec import check_machine_type
from gcp_emulator.instances import ONE, TERMINATED, Instance, find, touched
from gcp_emulator.links import last
from gcp_emulator.routes import Answer, Call, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World

STALE_TAGS = "Supplied fingerprint does not match current tags fingerprint."


def set_machine_type(world: "World", call: Call) -> Answer:
    """Make it larger or smaller."""
    document = call.document()
    check_machine_type(document, call.params["zone"])

    def change(instance: Instance) -> None:
        instance.machine_type = last(document["machineType"])

    return _while_off(world, call, "machine type", change)


def set_service_account(world: "World", call: Call) -> Answer:
    """Give it another account; none where the body names none."""
    email = call.document().get("email", "")
    default = world.project(call.params["project"]).service_account

    def change(instance: Instance) -> None:
        instance.service_account = default if email == "default" else email

    return _while_off(world, call, "service account", change)


def set_tags(world: "World", call: Call) -> Answer:
    """Replace its network tags."""
    instance, document = find(world, call), call.document()
    if document.get("fingerprint") != fingerprint(instance.tags):
        raise ApiError(412, "conditionNotMet", STALE_TAGS, location="If-Match", locationType="header")

    def take_effect() -> None:
        instance.tags = tuple(document.get("items") or ())
        touched(world, instance)

    return operations.begin(world, call, instance, "labels", take_effect)


def _while_off(world: "World", call: Call, what: str, change: Callable[[Instance], None]) -> Answer:
    instance = find(world, call)
    if instance.status != TERMINATED or instance.power_busy:
        message = f"The instance '{instance.key}' must be stopped before its {what} can be changed."
        raise ApiError(400, "resourceNotReady", message)

    def take_effect() -> None:
        if instance.status != TERMINATED:
            raise OperationFailedError(
                OperationError("RESOURCE_NOT_READY", f"The resource '{instance.key}' is not ready")
            )
        change(instance)
        touched(world, instance)

    return operations.begin(world, call, instance, "scheduling", take_effect)


ROUTES = (
    Route("POST", f"{ONE}/setMachineType", "instances.setMachineType", set_machine_type),
    Route("POST", f"{ONE}/setServiceAccount", "instances.setServiceAccount", set_service_account),
    Route("POST", f"{ONE}/setTags", "instances.setTags", set_tags),
)
