"""Operations: every change of Compute Engine is one, and is over when it is DONE, with or without an error."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from gcp_emulator import listing
from gcp_emulator.errors import WITHOUT_EFFECT, OperationError, OperationFailedError, invalid, not_found
from gcp_emulator.fault_kinds import Ending, NeverEnds, OperationFails, Stockout, WithoutEffect
from gcp_emulator.links import link, scope_of, short
from gcp_emulator.routes import GLOBAL, REGION, ZONE, Answer, Call, Json, Route
from gcp_emulator.seed import PERSON
from gcp_emulator.timing import timestamp
from gcp_emulator.wire import Held

if TYPE_CHECKING:
    from gcp_emulator.world import World

PENDING, RUNNING, DONE = "PENDING", "RUNNING", "DONE"
USER, SYSTEM = PERSON, "system"
RESOURCE_ERROR_HELP = "https://cloud.google.com/compute/docs/resource-error"


class Target(Protocol):
    """Any resource that operations are about."""

    id: str
    gone: bool  # deleted: what was asked of it before does not happen any more

    @property
    def key(self) -> str:
        """Its path below the version."""
        ...


@dataclass(slots=True)
class Operation:
    """One change under way, or over."""

    name: str
    id: str
    type: str
    target: str  # key
    target_id: str
    inserted: datetime
    user: str = USER
    verb: str = ""
    request_id: str | None = None
    status: str = RUNNING
    ended: datetime | None = None
    error: OperationError | None = None
    doom: OperationError | None = None  # how a fault rule will end it
    hangs: bool = False  # a fault rule keeps it from ever being DONE

    @property
    def scope(self) -> str:
        """What it lives in: projects/P/zones/Z, projects/P/global."""
        return scope_of(self.target)

    @property
    def key(self) -> str:
        """projects/P/zones/Z/operations/NAME."""
        return f"{self.scope}/operations/{self.name}"

    def as_json(self) -> Json:
        """Show it as the API does."""
        place = self.scope.split("/")[2]  # zones, regions or global
        document: dict[str, Any] = {
            "kind": "compute#operation",
            "id": self.id,
            "name": self.name,
            **({} if place == "global" else {place.rstrip("s"): link(self.scope)}),
            "operationType": self.type,
            "targetLink": link(self.target),
            "targetId": self.target_id,
            "status": self.status,
            "user": self.user,
            "progress": 100 if self.status == DONE else 0,
            "insertTime": timestamp(self.inserted),
            "selfLink": link(self.key),
        }
        if self.request_id:
            document["clientOperationId"] = self.request_id
        if self.status != PENDING:
            document["startTime"] = timestamp(self.inserted)
        if self.ended:
            document["endTime"] = timestamp(self.ended)
        if self.error:
            document |= _failure(self.error)
        return document


def _failure(error: OperationError) -> Json:
    first: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.code.startswith("ZONE_RESOURCE_POOL_EXHAUSTED"):
        first["errorDetails"] = [
            {"help": {"links": [{"description": "Additional details", "url": RESOURCE_ERROR_HELP}]}},
            {"localizedMessage": {"locale": "en-US", "message": error.message}},
        ]
    return {
        "error": {"errors": [first]},
        "httpErrorStatusCode": error.status,
        "httpErrorMessage": error.http_message,
    }


# --- their life --------------------------------------------------------------------------------------------------


def replayed(world: "World", call: Call) -> Operation | None:
    """Find the operation that an earlier request with this requestId began."""
    request_id = call.query.get("requestId")
    if request_id is None:
        return None
    _check_request_id(request_id)
    known = world.replays.get((call.request.path, request_id))
    memory = timedelta(seconds=world.knobs.request_id_memory_seconds)
    return known if known and world.now - known.inserted < memory else None


def _check_request_id(value: str) -> None:
    try:
        good = UUID(value).int != 0
    except ValueError:
        good = False
    if not good:
        raise invalid("requestId", value, "Must be a valid non-zero UUID.")


def opened(world: "World", call: Call | None, target: Target, kind: str = "") -> Operation:
    """Begin an operation of the call's kind; without a call it is Google's own doing, of the kind named."""
    kind = call.verb.rpartition(".")[2] if call else kind
    number = world.new_id()
    tail = sha256(number.encode()).hexdigest()
    millis = int(world.now.timestamp() * 1000)
    name = f"operation-{millis}-{tail[:13]}-{tail[13:21]}-{tail[21:29]}"
    if call is None:
        name = f"systemevent-{millis}-{tail[:13]}-{tail[13:21]}-{tail[21:29]}"
    operation = Operation(name, number, kind, target.key, target.id, world.now, user=user_of(call))
    if call:
        _bind(world, operation, call)
    world.operations[operation.key] = operation
    _written_down(world, operation)
    return operation


def user_of(call: Call | None) -> str:
    """Name who asks; without a call it is Google itself."""
    return (call.principal or USER) if call else SYSTEM


def _bind(world: "World", operation: Operation, call: Call) -> None:
    operation.verb = call.verb
    operation.request_id = call.query.get("requestId")
    if operation.request_id:
        world.replays[call.request.path, operation.request_id] = operation
    match world.fault(Ending, call):
        case OperationFails() | Stockout() as failure:
            operation.doom = failure.error(operation.scope)
        case WithoutEffect():
            operation.doom = WITHOUT_EFFECT
        case NeverEnds(effect=effect):
            operation.hangs = True
            operation.doom = None if effect else WITHOUT_EFFECT


def finish(world: "World", operation: Operation, error: OperationError | None = None) -> None:
    """End an operation, well or badly; one that hangs never ends."""
    if operation.hangs:
        return
    operation.status, operation.ended = DONE, world.now
    operation.error = None if error is WITHOUT_EFFECT else error
    _written_down(world, operation)


def begin(
    world: "World",
    call: Call,
    target: Target,
    step: str,
    take_effect: Callable[[], None],
) -> Json:
    """Begin an operation that takes effect all at once, after the latency of its step. It may still fail then."""
    operation = opened(world, call, target)

    def end() -> None:
        error = operation.doom or (gone(target) if target.gone else None)
        if error is None:
            try:
                take_effect()
            except OperationFailedError as failed:
                error = failed.error
        finish(world, operation, error)

    world.later(step, end)
    return operation.as_json()


def gone(target: Target) -> OperationError:
    """How an operation ends whose target was deleted before its turn came."""
    return OperationError("RESOURCE_NOT_FOUND", f"The resource '{target.key}' was not found", 404)


def _written_down(world: "World", operation: Operation) -> None:
    world.changes += 1
    world.history.add(
        world.now,
        "operation",
        name=operation.name,
        verb=operation.verb or operation.type,
        target=short(operation.target),
        status=operation.status,
        error=operation.error.code if operation.error else None,
    )


# --- requests ----------------------------------------------------------------------------------------------------


def _scope(world: "World", call: Call) -> str:
    project = call.params["project"]
    if zone := call.params.get("zone"):
        world.check_zone(project, zone)
        return f"projects/{project}/zones/{zone}"
    if region := call.params.get("region"):
        world.check_region(project, region)
        return f"projects/{project}/regions/{region}"
    return f"projects/{world.project(project).id}/global"


def _find(world: "World", call: Call) -> Operation:
    wanted = call.params["operation"]
    key = f"{_scope(world, call)}/operations/{wanted}"
    if operation := world.operations.get(key):
        return operation
    if wanted.isdigit():
        for operation in world.operations.values():
            if operation.id == wanted and operation.key.startswith(_scope(world, call) + "/"):
                return operation
    raise not_found(key)


def get(world: "World", call: Call) -> Answer:
    """Show one operation."""
    return _find(world, call).as_json()


def wait(world: "World", call: Call) -> Answer:
    """Answer when the operation is DONE, or after two minutes with what it is by then."""
    operation = _find(world, call)
    until = call.first_asked + timedelta(seconds=world.knobs.wait_seconds)
    if operation.status == DONE or world.now >= until:
        return operation.as_json()
    return Held(until)


def list_(world: "World", call: Call) -> Answer:
    """Show the operations of a zone or region, or the global ones."""
    scope = _scope(world, call)
    found = [operation.as_json() for operation in world.operations.values() if operation.scope == scope]
    return listing.page(call, found, kind="compute#operationList", key=f"{scope}/operations")


ROUTES = tuple(
    route
    for place, verb in ((ZONE, "zoneOperations"), (REGION, "regionOperations"), (GLOBAL, "globalOperations"))
    for route in (
        Route("GET", f"{place}/operations", f"{verb}.list", list_),
        Route("GET", f"{place}/operations/{{operation}}", f"{verb}.get", get),
        Route("POST", f"{place}/operations/{{operation}}/wait", f"{verb}.wait", wait),
    )
)
