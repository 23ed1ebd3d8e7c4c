"""What else of an instance can be changed: its machine type and account while it is off, its tags at any time."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gcp_emulator import operations
from gcp_emulator.errors import ApiError, missing
from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.instance_spec import check_machine_type, service_account_from
from gcp_emulator.instances import ONE, TERMINATED, Instance, find, touched
from gcp_emulator.links import last
from gcp_emulator.routes import Answer, Call, Json, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World


def set_machine_type(world: "World", call: Call) -> Answer:
    """Give it another size."""
    instance, document = _off(world, call), call.document()
    check_machine_type(document, call.params["zone"])
    if not (url := document.get("machineType")):
        raise missing("resource.machineType")

    def take_effect() -> None:
        instance.machine_type = last(url)

    return _begin(world, call, instance, take_effect)


def set_service_account(world: "World", call: Call) -> Answer:
    """Let it run as another account, or as none."""
    instance, document = _off(world, call), call.document()
    accounts: Json = {"serviceAccounts": [document] if document.get("email") else []}

    def take_effect() -> None:
        instance.service_account = service_account_from(world.project(instance.project), accounts)

    return _begin(world, call, instance, take_effect)


def set_tags(world: "World", call: Call) -> Answer:
    """Replace its tags, if nobody else did since the caller read them."""
    instance, document = find(world, call), call.document()
    if document.get("fingerprint") != fingerprint(instance.tags):
        message = "Supplied fingerprint does not match current tags fingerprint."
        raise ApiError(412, "conditionNotMet", message, location="If-Match", locationType="header")

    def take_effect() -> None:
        instance.tags = tuple(document.get("items") or ())

    return _begin(world, call, instance, take_effect)


def _off(world: "World", call: Call) -> Instance:
    instance = find(world, call)
    if instance.status != TERMINATED or instance.power_busy:
        message = f"The instance '{instance.key}' must be stopped before this can be changed."
        raise ApiError(400, "invalidResourceUsage", message)
    return instance


def _begin(world: "World", call: Call, instance: Instance, change: Callable[[], None]) -> Json:
    def take_effect() -> None:
        change()
        touched(world, instance)

    return operations.begin(world, call, instance, "scheduling", take_effect)


ROUTES = (
    Route("POST", f"{ONE}/setMachineType", "instances.setMachineType", set_machine_type),
    Route("POST", f"{ONE}/setServiceAccount", "instances.setServiceAccount", set_service_account),
    Route("POST", f"{ONE}/setTags", "instances.setTags", set_tags),
)
