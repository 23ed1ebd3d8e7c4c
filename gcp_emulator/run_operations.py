"""Long-running operations of Cloud Run: done when the job is ready, or when the execution is over."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.run_places import PLACE, place_of
from gcp_emulator.run_templates import seconds_of
from gcp_emulator.wire import Held

if TYPE_CHECKING:
    from gcp_emulator.world import World

ABORTED = 10  # google.rpc.Code
WAIT_SECONDS = 30.0  # of operations.wait without a timeout: not documented


class Shown(Protocol):
    """A job or an execution."""

    name: str

    def as_json(self) -> Json:
        """Show it as the API does."""
        ...


@dataclass(slots=True)
class RunOperation:
    """One change under way, or over: `failure` says whether it is over, and why it went wrong ("" if it did not)."""

    name: str  # projects/P/locations/L/operations/ID
    kind: str  # Job or Execution
    about: Shown
    failure: Callable[[], str | None]

    def as_json(self) -> Json:
        """Show it as the API does."""
        thing = {"@type": f"type.googleapis.com/google.cloud.run.v2.{self.kind}", **self.about.as_json()}
        document: dict[str, Any] = {"name": self.name, "metadata": thing}
        match self.failure():
            case None:
                return document
            case "":
                return document | {"done": True, "response": thing}
            case why:
                return document | {"done": True, "error": {"code": ABORTED, "message": why}}


def opened(world: "World", kind: str, about: Shown, failure: Callable[[], str | None]) -> RunOperation:
    """Begin an operation about a job or an execution."""
    place = "/".join(about.name.split("/")[:4])
    operation = RunOperation(f"{place}/operations/{world.new_uid()}", kind, about, failure)
    world.run_operations[operation.name] = operation
    return operation


# --- requests ----------------------------------------------------------------------------------------------------


def _find(world: "World", call: Call) -> RunOperation:
    name = f"{place_of(world, call).name}/operations/{call.params['operation']}"
    if operation := world.run_operations.get(name):
        return operation
    raise RpcError(404, f"The requested operation {name} does not exist.")


def get(world: "World", call: Call) -> Answer:
    """Show one operation."""
    return _find(world, call).as_json()


def wait(world: "World", call: Call) -> Answer:
    """Answer when it is done, or after the timeout with what it is by then."""
    operation = _find(world, call)
    timeout = call.document().get("timeout")
    until = call.first_asked + timedelta(seconds=seconds_of(timeout) if timeout else WAIT_SECONDS)
    if operation.failure() is not None or world.now >= until:
        return operation.as_json()
    return Held(until)


def list_(world: "World", call: Call) -> Answer:
    """Show the operations of a place."""
    place = place_of(world, call).name
    found = [one.as_json() for name, one in world.run_operations.items() if name.startswith(f"{place}/")]
    return {"operations": found} if found else {}


ROUTES = (
    Route("GET", f"{PLACE}/operations", "run.operations.list", list_),
    Route("GET", f"{PLACE}/operations/{{operation}}", "run.operations.get", get),
    Route("POST", f"{PLACE}/operations/{{operation}}:wait", "run.operations.wait", wait),
)
