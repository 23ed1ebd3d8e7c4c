"""Cloud Storage: buckets."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gcp_emulator import policies
from gcp_emulator.errors import HTML_TYPE, ApiError, invalid, missing
from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.instances import labels_from
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.wire import Reply

if TYPE_CHECKING:
    from gcp_emulator.objects import StoredObject
    from gcp_emulator.places import Project
    from gcp_emulator.world import World

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]\Z")
API = "https://www.googleapis.com/storage/v1"
DONE = Reply(204, b"", HTML_TYPE)


@dataclass(slots=True)
class Bucket:
    """One bucket; only the live version of each object is kept."""

    name: str
    project: "Project"
    created: datetime
    location: str = "US"
    labels: dict[str, str] = field(default_factory=dict)
    objects: dict[str, "StoredObject"] = field(default_factory=dict)
    generation: int = 0  # the last that was given to an object in it: never twice, not even after a deletion

    @property
    def key(self) -> str:
        """projects/P/buckets/B: what policies are kept by."""
        return f"projects/{self.project.id}/buckets/{self.name}"

    def as_json(self) -> Json:
        """Show it as the API does."""
        document: Json = {
            "kind": "storage#bucket",
            "id": self.name,
            "name": self.name,
            "projectNumber": self.project.number,
            "metageneration": "1",
            "location": self.location,
            "locationType": "multi-region" if self.location in {"US", "EU", "ASIA"} else "region",
            "storageClass": "STANDARD",
            "etag": fingerprint([self.name, "1"]),
            "timeCreated": timestamp(self.created),
            "updated": timestamp(self.created),
            "selfLink": f"{API}/b/{self.name}",
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": True},
                "publicAccessPrevention": "inherited",
            },
        }
        return document | ({"labels": self.labels} if self.labels else {})


def timestamp(moment: datetime) -> str:
    """Write a time as Cloud Storage does."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def find(world: "World", call: Call) -> Bucket:
    """Find the bucket that a request is about."""
    if bucket := world.buckets.get(call.params["bucket"]):
        return bucket
    raise ApiError(404, "notFound", "The specified bucket does not exist.")


def get(world: "World", call: Call) -> Answer:
    """Show one bucket."""
    return find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show a project's buckets."""
    project, prefix = world.project(call.required("project")), call.query.get("prefix", "")
    mine = [bucket for bucket in world.buckets.values() if bucket.project is project]
    found = [bucket.as_json() for bucket in mine if bucket.name.startswith(prefix)]
    return {"kind": "storage#buckets", **({"items": found} if found else {})}


def insert(world: "World", call: Call) -> Answer:
    """Make a bucket. Its name is one of all the world's."""
    project, document = world.project(call.required("project")), call.document()
    name = document.get("name")
    if not name:
        raise missing("name")
    if not NAME.match(name):
        raise invalid("name", name, "Invalid bucket name.")
    if name in world.buckets:
        message = "Your previous request to create the named bucket succeeded and you already own it."
        raise ApiError(409, "conflict", message)
    location = document.get("location", "US").upper()
    bucket = world.buckets[name] = Bucket(name, project, world.now, location, labels_from(document.get("labels") or {}))
    return bucket.as_json()


def delete(world: "World", call: Call) -> Answer:
    """Forget a bucket that is empty."""
    bucket = find(world, call)
    if bucket.objects:
        raise ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
    del world.buckets[bucket.name]
    policies.forget(world, bucket.key)
    return DONE


BUCKETS = "/storage/v1/b"
BUCKET = f"{BUCKETS}/{{bucket}}"
ROUTES = (
    Route("GET", BUCKETS, "buckets.list", list_),
    Route("POST", BUCKETS, "buckets.insert", insert),
    Route("GET", BUCKET, "buckets.get", get),
    Route("DELETE", BUCKET, "buckets.delete", delete),
)
