"""Instances: what one is, how the API shows it, and what can be written on it (metadata, labels, scheduling)."""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from gcp_emulator import listing, operations
from gcp_emulator.errors import ApiError, OperationError, OperationFailedError, invalid, not_found
from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.instance_body import instance_as_json
from gcp_emulator.links import instance_key, zone_key
from gcp_emulator.routes import COMPUTE, ZONE, Answer, Call, Json, Route
from gcp_emulator.scheduling import scheduling_from
from gcp_emulator.serial import Serial

if TYPE_CHECKING:
    from gcp_emulator.world import World

PROVISIONING, STAGING, RUNNING = "PROVISIONING", "STAGING", "RUNNING"
STOPPING, TERMINATED = "STOPPING", "TERMINATED"

LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}\Z")
LABELS_MAX = 64
METADATA_KEY = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
METADATA_VALUE_BYTES = 262_144
METADATA_BYTES = 512 * 1024


@dataclass(slots=True)
class AccessConfig:
    """nic0's way to the outside."""

    name: str
    nat_ip: str | None = None
    reserved: bool = False  # nat_ip is an Address of the user's; otherwise ephemeral, there only while RUNNING
    network_tier: str = "PREMIUM"


@dataclass(slots=True)
class Instance:
    """One virtual machine, from the outside."""

    project: str
    zone: str
    name: str
    id: str
    created: datetime
    internal_ip: str
    service_account: str  # "": none
    scheduling: Json
    machine_type: str = "e2-standard-2"
    gpu: str | None = None
    local_ssd: bool = False
    description: str = ""
    disk_gb: int = 50
    disk_auto_delete: bool = True  # whether its boot disk goes when it is deleted
    deletion_protection: bool = False
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    access_config: AccessConfig | None = None

    status: str = TERMINATED
    gone: bool = False  # deleted; another VM may have its name by now
    last_start: datetime | None = None
    last_stop: datetime | None = None
    termination: datetime | None = None  # when maxRunDuration ends this run
    run: int = 0  # counts entries into RUNNING: a timer of an earlier run finds that it is one
    boots: int = 0  # counts boots, likewise
    guest_up: bool = False
    hung: bool = False  # its kernel does not run: nothing in it hears the power button
    preempted: bool = False  # in this run
    cut_at: str | None = None  # a fault rule ends its startup script when the console shows this
    booted_at_byte: int = 0  # of its console
    cut_off_until: datetime | None = None  # no packet gets from or to its external address
    deaf_until: datetime | None = None  # nor from or to its metadata server
    on_guest_down: Callable[[], None] | None = None  # set while STOPPING
    power_busy: bool = False
    power_queue: deque[Callable[[], None]] = field(default_factory=deque)

    serial: Serial = field(default_factory=Serial)
    guest_attributes: dict[tuple[str, str], str] = field(default_factory=dict)

    shown: Json | None = None  # its JSON, until something changes

    @property
    def key(self) -> str:
        """projects/P/zones/Z/instances/I."""
        return instance_key(self.project, self.zone, self.name)

    @property
    def external_ip(self) -> str | None:
        """The address that leads to it, if there is one."""
        return self.access_config.nat_ip if self.access_config else None

    def as_json(self) -> Json:
        """Show it as the API does."""
        if self.shown is None:
            self.shown = instance_as_json(self)
        return self.shown


def find(world: "World", call: Call) -> Instance:
    """Find the instance that a request is about."""
    project, zone, name = call.params["project"], call.params["zone"], call.params["instance"]
    key = instance_key(project, zone, name)
    if instance := world.instances.get(key):
        return instance
    world.check_zone(project, zone)
    raise not_found(key)


def touched(world: "World", instance: Instance) -> None:
    """Something about it changed: what was shown is stale, and who waits for a change may look."""
    instance.shown = None
    world.changes += 1


# --- reading -----------------------------------------------------------------------------------------------------


def get(world: "World", call: Call) -> Answer:
    """Show one instance."""
    return find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the instances of a zone."""
    project, zone = call.params["project"], call.params["zone"]
    world.check_zone(project, zone)
    found = [vm.as_json() for vm in world.instances.values() if (vm.project, vm.zone) == (project, zone)]
    return listing.page(call, found, kind="compute#instanceList", key=f"{zone_key(project, zone)}/instances")


def aggregated_list(world: "World", call: Call) -> Answer:
    """Show the instances of all zones."""
    project = world.project(call.params["project"]).id
    return listing.aggregated(
        call,
        [(f"zones/{vm.zone}", vm.as_json()) for vm in world.instances.values() if vm.project == project],
        kind="compute#instanceAggregatedList",
        key=f"projects/{project}/aggregated/instances",
        name="instances",
        scopes=[f"zones/{zone}" for zones in world.regions.values() for zone in zones],
    )


def get_serial_port_output(world: "World", call: Call) -> Answer:
    """Show what the guest wrote to its serial ports, from a byte offset on."""
    instance = find(world, call)
    port, start = call.query.get("port", "1"), call.query.get("start", "0")
    if port not in {"1", "2", "3", "4"}:
        raise invalid("port", port, "Must be between 1 and 4.")
    if not re.fullmatch(r"-?\d+", start):
        raise invalid("start", start, "Must be a 64-bit integer.")
    return (instance.serial if port == "1" else Serial()).as_json(instance.key, int(start))


# --- writing -----------------------------------------------------------------------------------------------------


def set_metadata(world: "World", call: Call) -> Answer:
    """Replace the whole metadata, if nobody else did since the caller read it."""
    instance = find(world, call)
    document = call.document()
    items = metadata_from(document.get("items") or [])
    message = "Supplied fingerprint does not match current metadata fingerprint."
    compare = _comparison(lambda: instance.metadata, document.get("fingerprint"), message)

    def take_effect() -> None:
        compare(OperationFailedError)
        instance.metadata = items
        touched(world, instance)

    if world.knobs.stale_fingerprint == "reply":
        compare(ApiError)
    return operations.begin(world, call, instance, "metadata", take_effect)


def set_labels(world: "World", call: Call) -> Answer:
    """Replace all labels, if nobody else did since the caller read them."""
    instance = find(world, call)
    document = call.document()
    labels = labels_from(document.get("labels") or {})
    message = "Labels fingerprint either invalid or resource labels have changed"
    compare = _comparison(lambda: instance.labels, document.get("labelFingerprint"), message)

    def take_effect() -> None:
        compare(OperationFailedError)
        instance.labels = labels
        touched(world, instance)

    if world.knobs.stale_fingerprint == "reply":
        compare(ApiError)
    return operations.begin(world, call, instance, "labels", take_effect)


def _comparison(contents: Callable[[], dict[str, str]], expected: object, message: str) -> Callable[[type], None]:
    """Make the check that runs twice: when the request comes, and again when the change takes effect."""

    def compare(how: type) -> None:
        if expected == fingerprint(contents()):
            return
        if how is ApiError:
            raise ApiError(412, "conditionNotMet", message, location="If-Match", locationType="header")
        raise OperationFailedError(OperationError("CONDITION_NOT_MET", message, 412))

    return compare


def set_scheduling(world: "World", call: Call) -> Answer:
    """Replace the scheduling block of a stopped instance."""
    instance = find(world, call)
    if instance.status != TERMINATED or instance.power_busy:
        message = f"The instance '{instance.key}' must be stopped before its scheduling can be changed."
        raise ApiError(400, "invalidResourceUsage", message)
    scheduling = scheduling_from(call.document(), has_gpu=instance.gpu is not None)

    def take_effect() -> None:
        if instance.status != TERMINATED:
            message = f"The resource '{instance.key}' is not ready"
            raise OperationFailedError(OperationError("RESOURCE_NOT_READY", message))
        instance.scheduling = scheduling
        touched(world, instance)

    return operations.begin(world, call, instance, "scheduling", take_effect)


def metadata_from(items: object) -> dict[str, str]:
    """Check metadata items as Compute Engine does."""
    if not isinstance(items, list):
        raise invalid("items", items, "Must be a list.")
    metadata: dict[str, str] = {}
    for item in items:
        key, value = item.get("key"), item.get("value") or ""
        if not isinstance(key, str) or not METADATA_KEY.match(key):
            raise invalid("resource.items.key", key, "Must be a match of regex '[a-zA-Z0-9-_]{1,128}'.")
        if key in metadata:
            raise invalid("resource.items", key, "Duplicate key.")
        if len(value.encode()) > METADATA_VALUE_BYTES:
            raise invalid("resource.items.value", key, f"Metadata value must be at most {METADATA_VALUE_BYTES} bytes.")
        metadata[key] = value
    if sum(len(key) + len(value.encode()) for key, value in metadata.items()) > METADATA_BYTES:
        raise ApiError(413, "fieldSizeTooLarge", f"Total metadata size must be less than {METADATA_BYTES} bytes.")
    return metadata


def labels_from(labels: object) -> dict[str, str]:
    """Check labels as Compute Engine does."""
    if not isinstance(labels, dict) or len(labels) > LABELS_MAX:
        raise invalid("resource.labels", labels, f"At most {LABELS_MAX} labels.")
    for key, value in labels.items():
        if not LABEL.match(key) or not LABEL_VALUE.match(value):
            raise invalid("resource.labels", f"{key}={value}", "Lower case letters, digits, '_' and '-', 63 at most.")
    return labels


ONE = f"{ZONE}/instances/{{instance}}"
ROUTES = (
    Route("GET", f"{COMPUTE}/aggregated/instances", "instances.aggregatedList", aggregated_list),
    Route("GET", f"{ZONE}/instances", "instances.list", list_),
    Route("GET", ONE, "instances.get", get),
    Route("GET", f"{ONE}/serialPort", "instances.getSerialPortOutput", get_serial_port_output),
    Route("POST", f"{ONE}/setMetadata", "instances.setMetadata", set_metadata),
    Route("POST", f"{ONE}/setLabels", "instances.setLabels", set_labels),
    Route("POST", f"{ONE}/setScheduling", "instances.setScheduling", set_scheduling),
)
