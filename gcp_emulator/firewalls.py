"""Firewall rules: kept and shown. They let nothing in or out here: what they would do is for `doctor` to read."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gcp_emulator import listing, operations
from gcp_emulator.errors import ApiError, OperationError, OperationFailedError, invalid, not_found
from gcp_emulator.instance_spec import checked_name
from gcp_emulator.links import link, short
from gcp_emulator.networks import network_meant_by
from gcp_emulator.routes import GLOBAL, Answer, Call, Handler, Json, Route
from gcp_emulator.timing import timestamp

if TYPE_CHECKING:
    from gcp_emulator.world import World

PRIORITIES = range(65_536)
EVERYWHERE = "0.0.0.0/0"
OUTPUT_ONLY = {"kind", "id", "creationTimestamp", "selfLink"}


@dataclass(slots=True)
class Firewall:
    """One rule of a network."""

    project: str
    name: str
    id: str
    created: datetime
    rule: Json  # what the user says of it
    gone: bool = False

    @property
    def key(self) -> str:
        """projects/P/global/firewalls/F."""
        return f"projects/{self.project}/global/firewalls/{self.name}"

    def as_json(self) -> Json:
        """Show it as the API does."""
        return {
            "kind": "compute#firewall",
            "id": self.id,
            "creationTimestamp": timestamp(self.created),
            "selfLink": link(self.key),
            **self.rule,
        }


def insert(world: "World", call: Call) -> Answer:
    """Make a rule."""
    project = world.project(call.params["project"]).id
    document = call.document()
    name = checked_name(document)
    firewall = Firewall(project, name, world.new_id(), world.now, _rule(world, project, document))
    exists = ApiError(409, "alreadyExists", f"The resource '{firewall.key}' already exists")
    if firewall.key in world.firewalls:
        raise exists

    def take_effect() -> None:
        if firewall.key in world.firewalls:
            raise OperationFailedError(OperationError("RESOURCE_ALREADY_EXISTS", exists.message, exists.status))
        world.firewalls[firewall.key] = firewall
        world.moved(short(firewall.key), "", "READY")

    return operations.begin(world, call, firewall, "firewall", take_effect)


def get(world: "World", call: Call) -> Answer:
    """Show one rule."""
    return _find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the project's rules."""
    project = world.project(call.params["project"]).id
    found = [one.as_json() for one in world.firewalls.values() if one.project == project]
    return listing.page(call, found, kind="compute#firewallList", key=f"projects/{project}/global/firewalls")


def _change(*, whole: bool) -> Handler:
    def change(world: "World", call: Call) -> Answer:
        firewall = _find(world, call)
        document = call.document()
        if document.get("name", firewall.name) != firewall.name:
            raise invalid("resource.name", document["name"], "The name of a firewall rule cannot be changed.")
        under = {} if whole else firewall.rule
        given = {name: value for name, value in {**under, **document}.items() if name not in OUTPUT_ONLY}
        rule = _rule(world, firewall.project, {**given, "name": firewall.name})
        if rule["network"] != firewall.rule["network"] or rule["direction"] != firewall.rule["direction"]:
            raise invalid("resource.network", rule["network"], "Network and direction of a rule cannot be changed.")

        def take_effect() -> None:
            firewall.rule = rule
            world.changes += 1

        return operations.begin(world, call, firewall, "firewall", take_effect)

    return change


def delete(world: "World", call: Call) -> Answer:
    """Take a rule away."""
    firewall = _find(world, call)

    def take_effect() -> None:
        del world.firewalls[firewall.key]
        firewall.gone = True
        world.moved(short(firewall.key), "READY", "")

    return operations.begin(world, call, firewall, "firewall", take_effect)


def _find(world: "World", call: Call) -> Firewall:
    project = world.project(call.params["project"]).id
    key = f"projects/{project}/global/firewalls/{call.params['firewall']}"
    if firewall := world.firewalls.get(key):
        return firewall
    raise not_found(key)


def _rule(world: "World", project: str, document: Json) -> Json:
    """Check a rule and fill in what Compute Engine does."""
    if bool(document.get("allowed")) == bool(document.get("denied")):
        raise invalid("resource.allowed", "", "Exactly one of allowed and denied must be given.")
    priority = document.get("priority", 1000)
    if priority not in PRIORITIES:
        raise invalid("resource.priority", priority, "Must be between 0 and 65535.")
    for entry in document.get("allowed") or document["denied"]:
        if not entry.get("IPProtocol"):
            raise invalid("resource.allowed[0].IPProtocol", "", "No IP protocol is specified.")
    direction = document.get("direction", "INGRESS")
    rule: Json = {
        "description": "",
        "disabled": False,
        "logConfig": {"enable": False},
        **{name: value for name, value in document.items() if name not in OUTPUT_ONLY and value not in ([], None)},
        "network": link(network_meant_by(world, project, document.get("network"))),
        "direction": direction,
        "priority": priority,
    }
    sources = {"sourceRanges", "sourceTags", "sourceServiceAccounts"}
    if direction == "INGRESS" and not sources & rule.keys():
        rule["sourceRanges"] = [EVERYWHERE]
    if direction == "EGRESS" and "destinationRanges" not in rule:
        rule["destinationRanges"] = [EVERYWHERE]
    return rule


FIREWALLS = f"{GLOBAL}/firewalls"
ONE = f"{FIREWALLS}/{{firewall}}"
ROUTES = (
    Route("GET", FIREWALLS, "firewalls.list", list_),
    Route("POST", FIREWALLS, "firewalls.insert", insert),
    Route("GET", ONE, "firewalls.get", get),
    Route("PATCH", ONE, "firewalls.patch", _change(whole=False)),
    Route("PUT", ONE, "firewalls.update", _change(whole=True)),
    Route("DELETE", ONE, "firewalls.delete", delete),
)
