"""Images in Artifact Registry: what was pushed, by digest and tag. `POST /_emulator/images` is the push."""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

from gcp_emulator.artifact_registry import REPOSITORY, find
from gcp_emulator.errors import ApiError, RpcError
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.rpc import page_of
from gcp_emulator.timing import zulu

if TYPE_CHECKING:
    from gcp_emulator.world import World

URI = re.compile(
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/:@]+)/(?P<name>[^:@]+)"
    r"(:(?P<tag>[\w.-]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?\Z"
)
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
IMAGE_BYTES = 80_000_000


@dataclass(slots=True)
class Image:
    """One image."""

    repository: str  # key
    uri: str  # of the repository and the name
    name: str
    digest: str
    uploaded: datetime
    tags: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """projects/P/locations/L/repositories/R/dockerImages/NAME@DIGEST."""
        return f"{self.repository}/dockerImages/{quote(self.name, safe='')}@{self.digest}"

    @property
    def package(self) -> str:
        """projects/P/locations/L/repositories/R/packages/NAME."""
        return f"{self.repository}/packages/{quote(self.name, safe='')}"

    def as_json(self) -> Json:
        """Show it as the API does."""
        document: Json = {
            "name": self.key,
            "uri": f"{self.uri}@{self.digest}",
            "imageSizeBytes": str(IMAGE_BYTES),
            "uploadTime": zulu(self.uploaded),
            "updateTime": zulu(self.uploaded),
            "mediaType": MEDIA_TYPE,
        }
        return {**document, "tags": self.tags} if self.tags else document


def _repository_of(uri: re.Match[str]) -> str:
    return f"projects/{uri['project']}/locations/{uri['location']}/repositories/{uri['repository']}"


def push(world: "World", uri: str) -> Image:
    """Put an image where its URI says; without a digest it gets one. A tag moves to it. ValueError."""
    match = URI.match(uri)
    if match is None:
        raise ValueError(f"{uri} is not LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/NAME[:TAG][@DIGEST]")
    repository = _repository_of(match)
    if repository not in world.repositories:
        raise ValueError(f"there is no {repository}: make it before you push to it")
    name, tag = match["name"], match["tag"] or ("latest" if not match["digest"] else None)
    digest = match["digest"] or f"sha256:{sha256(f'{uri}/{len(world.images)}'.encode()).hexdigest()}"
    base = f"{world.repositories[repository].uri}/{name}"
    image = Image(repository, base, name, digest, world.now)
    image = world.images.setdefault(image.key, image)
    for other in world.images.values():
        if other.package == image.package and tag in other.tags:
            other.tags.remove(tag)
    image.tags += [tag] if tag else []
    return image


def _let_come(world: "World") -> None:
    """Push what only waited for its repository."""
    for uri in world.images_to_come:
        match = URI.match(uri)
        if match and _repository_of(match) in world.repositories:
            push(world, uri)


def found_by(world: "World", uri: str) -> Image | None:
    """Find the image that a URI names by its digest, its tag or, without either, the tag `latest`."""
    _let_come(world)
    match = URI.match(uri)
    if match is None:
        return None
    bare = f"{match['location']}-docker.pkg.dev/{match['project']}/{match['repository']}/{match['name']}"
    digest, tag = match["digest"], match["tag"] or "latest"
    same = [image for image in world.images.values() if image.uri == bare]
    return next((one for one in same if (one.digest == digest if digest else tag in one.tags)), None)


# --- requests ----------------------------------------------------------------------------------------------------


def get(world: "World", call: Call) -> Answer:
    """Show one image, which is named by its digest."""
    _let_come(world)
    key = f"{find(world, call).key}/dockerImages/{call.params['image']}"
    if image := world.images.get(key):
        return image.as_json()
    raise RpcError(404, f'Requested entity was not found: "{key}".')


def list_(world: "World", call: Call) -> Answer:
    """Show the images of a repository."""
    _let_come(world)
    prefix = f"{find(world, call).key}/"
    return page_of(
        call.query, "dockerImages", [one.as_json() for key, one in world.images.items() if key.startswith(prefix)]
    )


def get_tag(world: "World", call: Call) -> Answer:
    """Show which version a tag means."""
    package, tag = f"{find(world, call).key}/packages/{call.params['package']}", call.params["tag"]
    for image in world.images.values():
        if image.package == package and tag in image.tags:
            return {"name": f"{package}/tags/{tag}", "version": f"{package}/versions/{image.digest}"}
    raise RpcError(404, f'Requested entity was not found: "{package}/tags/{tag}".')


def control_push(world: "World", call: Call) -> Answer:
    """Take in an image as `docker push` would bring it: {"uri": ...}; gives its URI with the digest."""
    document = json.loads(call.request.body or b"{}")
    uri = document.get("uri") if isinstance(document, dict) else None
    if not isinstance(uri, str):
        raise ApiError(400, "invalid", 'The body is {"uri": "LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG"}')
    image = push(world, uri)
    return {"uri": f"{image.uri}@{image.digest}", "digest": image.digest, "tags": image.tags}


ROUTES = (
    Route("GET", f"{REPOSITORY}/dockerImages", "artifactregistry.dockerimages.list", list_),
    Route("GET", f"{REPOSITORY}/dockerImages/{{image*}}", "artifactregistry.dockerimages.get", get),
    Route("GET", f"{REPOSITORY}/packages/{{package}}/tags/{{tag}}", "artifactregistry.tags.get", get_tag),
)
CONTROL_ROUTES = (Route("POST", "/_emulator/images", "emulator.images.push", control_push),)
