"""Guest attributes: what the guest PUTs to its metadata server and the API shows to others."""

import re
from typing import TYPE_CHECKING

from gcp_emulator.errors import ApiError, invalid
from gcp_emulator.instances import ONE, Instance, find
from gcp_emulator.links import link
from gcp_emulator.routes import Answer, Call, Json, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World

SWITCH = "enable-guest-attributes"
QUERY_PATH = re.compile(r"([\w\-]+/[\w\-.]*)?\Z")
VALUE_BYTES = 256 * 1024


def enabled(world: "World", vm: Instance) -> bool:
    """Tell whether the metadata allows them; the instance's own word goes before the project's."""
    project = world.projects[vm.project].metadata
    return vm.metadata.get(SWITCH, project.get(SWITCH, "")).upper() == "TRUE"


def get(world: "World", call: Call) -> Answer:
    """Show one value, or those of a namespace."""
    vm = find(world, call)
    wanted = call.query.get("queryPath") or call.query.get("variableKey") or ""
    if not QUERY_PATH.match(wanted):
        raise invalid("queryPath", wanted, "Must be a match of regex '([\\w-]+/[\\w-]*)?'")
    namespace, _, key = wanted.partition("/")
    items = [
        {"namespace": space, "key": name, "value": value}
        for (space, name), value in vm.guest_attributes.items()
        if namespace in {"", space} and key in {"", name}
    ]
    if not items or not enabled(world, vm):
        raise ApiError(404, "notFound", f"The resource '{wanted}' of type 'Guest Attribute' was not found.")
    return _as_json(vm, call, items)


def _as_json(vm: Instance, call: Call, items: list[dict[str, str]]) -> Json:
    document: Json = {
        "kind": "compute#guestAttributes",
        "selfLink": link(f"{vm.key}/guestAttributes/"),
    }
    if variable := call.query.get("variableKey"):
        return {**document, "variableKey": variable, "variableValue": items[0]["value"]}
    return {**document, "queryPath": call.query.get("queryPath", ""), "queryValue": {"items": items}}


ROUTES = (Route("GET", f"{ONE}/getGuestAttributes", "instances.getGuestAttributes", get),)
