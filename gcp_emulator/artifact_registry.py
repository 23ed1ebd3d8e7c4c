"""Artifact Registry: Docker repositories."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from gcp_emulator import policies, rpc
from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.rpc import TYPE, TakeEffect, body_of, page_of, project_of
from gcp_emulator.timing import zulu

if TYPE_CHECKING:
    from gcp_emulator.world import World

ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
MULTI_REGIONS = frozenset({"us", "europe", "asia"})
CHANGEABLE = {"description": "description", "labels": "labels"}


@dataclass(slots=True)
class Repository:
    """One repository for images."""

    project: str
    location: str
    id: str
    created: datetime
    updated: datetime
    description: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """projects/P/locations/L/repositories/R."""
        return f"projects/{self.project}/locations/{self.location}/repositories/{self.id}"

    @property
    def uri(self) -> str:
        """L-docker.pkg.dev/P/R: how the images in it begin."""
        return f"{self.location}-docker.pkg.dev/{self.project}/{self.id}"

    def as_json(self) -> Json:
        """Show it as the API does."""
        document: Json = {
            "name": self.key,
            "format": "DOCKER",
            "mode": "STANDARD_REPOSITORY",
            "createTime": zulu(self.created),
            "updateTime": zulu(self.updated),
            "registryUri": self.uri,
            "vulnerabilityScanningConfig": {"enablementState": "SCANNING_DISABLED"},
            "satisfiesPzi": True,
        }
        if self.description:
            document["description"] = self.description
        return {**document, "labels": self.labels} if self.labels else document


def create(world: "World", call: Call) -> Answer:
    """Make a repository."""
    project, location = project_of(world, call).id, _location(world, call)
    document, identifier = body_of(call), call.query.get("repositoryId", "")
    if not ID.match(identifier):
        raise RpcError(400, f'Invalid repository ID "{identifier}": it must match [a-z]([a-z0-9-]{{0,61}}[a-z0-9])?.')
    if (kind := document.get("format")) != "DOCKER":
        raise RpcError(400, f"This emulator has repositories of the format DOCKER only, not {kind}.")
    description, labels = document.get("description", ""), document.get("labels") or {}
    repository = Repository(project, location, identifier, world.now, world.now, description, labels)
    if repository.key in world.repositories:
        raise RpcError(409, "the repository already exists")

    def take_effect() -> Json:
        world.repositories[repository.key] = repository
        world.moved(f"repositories/{identifier}", "", "READY")
        kind = f"{TYPE}google.devtools.artifactregistry.v1.Repository"
        return {"@type": kind, **repository.as_json()}

    return _begin(world, call, take_effect)


def get(world: "World", call: Call) -> Answer:
    """Show one repository."""
    return find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the repositories of a location."""
    prefix = f"projects/{project_of(world, call).id}/locations/{_location(world, call)}/"
    found = [one.as_json() for key, one in world.repositories.items() if key.startswith(prefix)]
    return page_of(call.query, "repositories", found)


def patch(world: "World", call: Call) -> Answer:
    """Change description and labels: those of the mask, or else those that are given."""
    repository, given = find(world, call), body_of(call)
    for name in call.query.get("updateMask", "").split(",") if call.query.get("updateMask") else given:
        match name:
            case "description":
                repository.description = given.get(name, "")
            case "labels":
                repository.labels = given.get(name) or {}
            case _:
                raise RpcError(400, f"This emulator cannot change the field {name} of a repository.")
    repository.updated = world.now
    return repository.as_json()


def delete(world: "World", call: Call) -> Answer:
    """Delete a repository and every image in it."""
    repository = find(world, call)

    def take_effect() -> Json:
        if world.repositories.pop(repository.key, None):
            policies.forget(world, repository.key)
            for key in [key for key in world.images if key.startswith(f"{repository.key}/")]:
                del world.images[key]
            world.moved(f"repositories/{repository.id}", "READY", "")
        return {"@type": f"{TYPE}google.protobuf.Empty"}

    return _begin(world, call, take_effect)


def get_location(world: "World", call: Call) -> Answer:
    """Show a location."""
    project, location = project_of(world, call).id, _location(world, call)
    labels = {"cloud.googleapis.com/region": location}
    return {"name": f"projects/{project}/locations/{location}", "locationId": location, "labels": labels}


def get_operation(world: "World", call: Call) -> Answer:
    """Show how far an operation is."""
    place = f"projects/{project_of(world, call).id}/locations/{call.params['location']}"
    return rpc.operation_called(world, f"{place}/operations/{call.params['operation']}")


def find(world: "World", call: Call) -> Repository:
    """Find the repository that a request is about."""
    place = f"projects/{project_of(world, call).id}/locations/{_location(world, call)}"
    key = f"{place}/repositories/{call.params['repository']}"
    if repository := world.repositories.get(key):
        return repository
    raise RpcError(404, f'Requested entity was not found: "{key}".')


def _find_key(world: "World", call: Call) -> str:
    return find(world, call).key


def _location(world: "World", call: Call) -> str:
    location = call.params["location"]
    if location not in world.regions and location not in MULTI_REGIONS:
        raise RpcError(400, f'Location "{location}" is not valid for this service.')
    return location


def _begin(world: "World", call: Call, take_effect: TakeEffect) -> Json:
    place = f"projects/{project_of(world, call).id}/locations/{call.params['location']}"
    metadata = {"@type": f"{TYPE}google.devtools.artifactregistry.v1.OperationMetadata"}
    return rpc.begin(world, f"{place}/operations/{rpc.new_uuid(world)}", "repository", metadata, take_effect)


LOCATION = "/v1/projects/{project}/locations/{location}"
REPOSITORIES = f"{LOCATION}/repositories"
REPOSITORY = f"{REPOSITORIES}/{{repository}}"
ROUTES = (
    Route("GET", LOCATION, "artifactregistry.locations.get", get_location),
    Route("GET", f"{LOCATION}/operations/{{operation}}", "artifactregistry.operations.get", get_operation),
    Route("GET", REPOSITORIES, "artifactregistry.repositories.list", list_),
    Route("POST", REPOSITORIES, "artifactregistry.repositories.create", create),
    Route("GET", REPOSITORY, "artifactregistry.repositories.get", get),
    Route("PATCH", REPOSITORY, "artifactregistry.repositories.update", patch),
    Route("DELETE", REPOSITORY, "artifactregistry.repositories.delete", delete),
    *policies.routes(REPOSITORY, "artifactregistry.repositories", _find_key),
)
