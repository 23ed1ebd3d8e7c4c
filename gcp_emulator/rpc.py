"""What the services that speak google.rpc share: projects, bodies, times, etags, pages, long-running operations."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from gcp_emulator.errors import ApiError, RpcError
from gcp_emulator.routes import Call, Json

if TYPE_CHECKING:
    from gcp_emulator.places import Project
    from gcp_emulator.world import World

TYPE = "type.googleapis.com/"
TakeEffect = Callable[[], Json]  # gives the response


def project_of(world: "World", call: Call) -> "Project":
    """Find the project that a request names by its id or number."""
    wanted = call.params["project"]
    for project in world.projects.values():
        if wanted in {project.id, project.number}:
            return project
    raise RpcError(403, f"Permission denied on resource project {wanted}.")


def body_of(call: Call) -> Json:
    """Parse the body; an error is of the google.rpc form."""
    try:
        return call.document()
    except ApiError as wrong:
        raise RpcError(400, wrong.message) from wrong


def etag(*parts: object) -> str:
    """Make the opaque mark of one state: bytes in base64."""
    return base64.b64encode(sha256("/".join(map(str, parts)).encode()).digest()[:9]).decode()


def new_uuid(world: "World") -> str:
    """Make the kind of name that operations have."""
    mark = sha256(world.new_id().encode()).hexdigest()
    return f"{mark[:8]}-{mark[8:12]}-{mark[12:16]}-{mark[16:20]}-{mark[20:32]}"


def page_of(asked: Mapping[str, str], name: str, found: list[Json]) -> Json:
    """Give the page that was asked for with pageSize and pageToken; nothing found is an empty message."""
    size = int(asked.get("pageSize") or 0) or len(found)
    token = asked.get("pageToken") or "0"
    if not token.isdigit():
        raise RpcError(400, "Invalid page token.")
    first = int(token)
    page: Json = {name: found[first : first + size]} if found[first:] else {}
    return {**page, "nextPageToken": str(first + size)} if first + size < len(found) else page


@dataclass(slots=True)
class LongRunning:
    """A google.longrunning.Operation."""

    name: str
    metadata: Json
    response: Json | None = None

    def as_json(self) -> Json:
        """Show it as the API does."""
        document: Json = {"name": self.name, "metadata": self.metadata}
        return document if self.response is None else {**document, "done": True, "response": self.response}


def begin(world: "World", name: str, step: str, metadata: Json, take_effect: TakeEffect) -> Json:
    """Begin an operation that takes effect all at once, after the latency of its step."""
    operation = world.long_running[name] = LongRunning(name, metadata)

    def end() -> None:
        operation.response = take_effect()
        world.changes += 1

    world.later(step, end)
    return operation.as_json()


def operation_called(world: "World", name: str) -> Json:
    """Show the operation of this name."""
    if operation := world.long_running.get(name):
        return operation.as_json()
    raise RpcError(404, f"Operation not found: {name}")
