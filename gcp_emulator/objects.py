"""Cloud Storage: objects. A change may ask for the generation that it replaces, which makes it a compare-and-swap."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import google_crc32c

from gcp_emulator.buckets import API, BUCKET, DONE, Bucket, find, timestamp
from gcp_emulator.errors import HTML_TYPE, ApiError, GoogleError, invalid, missing
from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.uploads import Upload
from gcp_emulator.wire import Reply

if TYPE_CHECKING:
    from gcp_emulator.world import World

NAME_BYTES = 1024
PAGE = 1000
WRITABLE = ("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "metadata")


@dataclass(slots=True)
class StoredObject:
    """The live version of one object."""

    bucket: str
    name: str
    generation: int  # another content, another generation
    content: bytes
    created: datetime
    updated: datetime
    properties: Json = field(default_factory=dict)  # of WRITABLE
    metageneration: int = 1  # other properties, another one

    @property
    def hashes(self) -> Mapping[str, str]:
        """crc32c and MD5, in base64."""
        checksum = google_crc32c.value(self.content).to_bytes(4, "big")
        digest = md5(self.content, usedforsecurity=False).digest()
        return {"crc32c": base64.b64encode(checksum).decode(), "md5": base64.b64encode(digest).decode()}

    @property
    def etag(self) -> str:
        """Changes with each generation and metageneration."""
        return fingerprint([self.name, str(self.generation), str(self.metageneration)])

    def as_json(self, call: Call) -> Json:
        """Show it as the API does; clients follow the mediaLink, so it leads to where they asked."""
        path = f"b/{self.bucket}/o/{quote(self.name, safe='')}"
        hashes = self.hashes
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{API}/{path}",
            "mediaLink": f"{origin(call)}/download/storage/v1/{path}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": "STANDARD",
            "size": str(len(self.content)),
            "md5Hash": hashes["md5"],
            "crc32c": hashes["crc32c"],
            "etag": self.etag,
            "timeCreated": timestamp(self.created),
            "updated": timestamp(self.updated),
            "timeStorageClassUpdated": timestamp(self.created),
            "timeFinalized": timestamp(self.created),
            **self.properties,
        }


def origin(call: Call) -> str:
    """Say where the caller found us."""
    host = call.request.headers.get("host")
    return f"http://{host}" if host else "https://storage.googleapis.com"


class NotModifiedError(GoogleError):
    """The caller has this generation already."""

    status = 304

    def reply(self) -> Reply:
        """Say so, without a body."""
        return Reply(304, b"", HTML_TYPE)


# --- reading -----------------------------------------------------------------------------------------------------


def get(world: "World", call: Call) -> Answer:
    """Show one object, or hand over its content."""
    as_media = call.query.get("alt") == "media"
    try:
        stored = _find(find(world, call), call)
        check_preconditions(call, stored)
    except ApiError as refused:
        if not as_media:
            raise
        return Reply(refused.status, refused.message.encode(), HTML_TYPE)
    return _content(stored, call.request.headers.get("range", "")) if as_media else stored.as_json(call)


def list_(world: "World", call: Call) -> Answer:
    """Show the objects whose name has a prefix; with a delimiter, those deeper down only by the next name."""
    bucket = find(world, call)
    prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
    after = base64.urlsafe_b64decode(call.query.get("pageToken", "")).decode()
    found: dict[str, Json | None] = {}  # by name; None: a prefix
    for name in sorted(bucket.objects):
        below, deeper, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
        shown = f"{prefix}{below}{delimiter}" if deeper else name
        if name.startswith(prefix) and shown > after:
            found[shown] = None if deeper else bucket.objects[name].as_json(call)
    names = list(found)[: min(int(call.query.get("maxResults") or PAGE), PAGE)]
    document: Json = {"kind": "storage#objects"}
    if items := [item for name in names if (item := found[name])]:
        document["items"] = items
    if prefixes := [name for name in names if found[name] is None]:
        document["prefixes"] = prefixes
    if len(names) < len(found):
        document["nextPageToken"] = base64.urlsafe_b64encode(names[-1].encode()).decode()
    return document


def _content(stored: StoredObject, wanted: str) -> Reply:
    headers = {
        "content-type": stored.properties["contentType"],
        "etag": stored.etag,
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": str(stored.metageneration),
        "x-goog-hash": ",".join(f"{name}={value}" for name, value in stored.hashes.items()),
        "x-goog-stored-content-length": str(len(stored.content)),
    }
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    if asked is None:
        return Reply(200, stored.content, headers)
    first, last = int(asked[1]), min(int(asked[2] or len(stored.content)), len(stored.content) - 1)
    if first > last:
        return Reply(416, b"", {**headers, "content-range": f"bytes */{len(stored.content)}"})
    span = f"bytes {first}-{last}/{len(stored.content)}"
    return Reply(206, stored.content[first : last + 1], {**headers, "content-range": span})


# --- writing -----------------------------------------------------------------------------------------------------


def put(world: "World", bucket: Bucket, call: Call, upload: Upload) -> Json:
    """Let this be the object's content, on the conditions of the call that asked for it."""
    name, given = name_of(call, upload), upload.properties()
    check_preconditions(call, bucket.objects.get(name))
    properties = {"contentType": upload.content_type, **{key: given[key] for key in WRITABLE if key in given}}
    bucket.generation = max(int(world.now.timestamp() * 1_000_000), bucket.generation + 1)
    stored = StoredObject(bucket.name, name, bucket.generation, upload.content, world.now, world.now, properties)
    _check_hashes(stored, given)
    bucket.objects[name] = stored
    world.changes += 1
    return stored.as_json(call)


def name_of(call: Call, upload: Upload) -> str:
    """Give the object's name: in its properties or in the query."""
    name = upload.properties().get("name") or call.query.get("name")
    if not name:
        raise missing("name")
    if len(name.encode()) > NAME_BYTES:
        raise invalid("name", name, f"The length must be less than {NAME_BYTES + 1} bytes.")
    return str(name)


def patch(world: "World", call: Call) -> Answer:
    """Change some properties; a null takes one away."""
    stored = _find(find(world, call), call)
    check_preconditions(call, stored)
    for key, value in call.document().items():
        if key in WRITABLE:
            _change(stored.properties, key, value)
    stored.metageneration += 1
    stored.updated = world.now
    world.changes += 1
    return stored.as_json(call)


def delete(world: "World", call: Call) -> Answer:
    """Forget an object."""
    bucket = find(world, call)
    stored = _find(bucket, call)
    check_preconditions(call, stored)
    del bucket.objects[stored.name]
    world.changes += 1
    return DONE


def _change(properties: Json, key: str, value: Any) -> None:
    if value is None:
        properties.pop(key, None)
    elif key == "metadata":
        merged = {**properties.get("metadata", {}), **value}
        properties["metadata"] = {name: text for name, text in merged.items() if text is not None}
    else:
        properties[key] = value


def _check_hashes(stored: StoredObject, given: Json) -> None:
    """What the caller says of the content must be true of what came."""
    for key, name in (("md5Hash", "md5"), ("crc32c", "crc32c")):
        if given.get(key, stored.hashes[name]) != stored.hashes[name]:
            message = f'Provided {name.upper()} hash "{given[key]}" doesn\'t match calculated hash.'
            raise ApiError(400, "invalid", message)


# --- which object, and on which conditions -----------------------------------------------------------------------


def _find(bucket: Bucket, call: Call) -> StoredObject:
    name = unquote(call.params["object"])
    stored = bucket.objects.get(name)
    if stored is None or call.query.get("generation", str(stored.generation)) != str(stored.generation):
        raise ApiError(404, "notFound", f"No such object: {bucket.name}/{name}")
    return stored


def check_preconditions(call: Call, stored: StoredObject | None) -> None:
    """Refuse what asks for another generation. An object that is not there has the generation 0."""
    have = {
        "Generation": stored.generation if stored else 0,
        "Metageneration": stored.metageneration if stored else 0,
    }
    for what, number in have.items():
        if call.query.get(f"if{what}Match", str(number)) != str(number):
            message = "At least one of the pre-conditions you specified did not hold."
            raise ApiError(412, "conditionNotMet", message, locationType="header", location="If-Match")
        if call.query.get(f"if{what}NotMatch") == str(number):
            if call.request.method == "GET":
                raise NotModifiedError
            message = "At least one of the pre-conditions you specified did not hold."
            raise ApiError(412, "conditionNotMet", message, locationType="header", location="If-None-Match")


OBJECTS = f"{BUCKET}/o"
OBJECT = f"{OBJECTS}/{{object*}}"
ROUTES = (
    Route("GET", OBJECTS, "objects.list", list_),
    Route("GET", OBJECT, "objects.get", get),
    Route("GET", f"/download{OBJECT}", "objects.get", get),
    Route("PATCH", OBJECT, "objects.patch", patch),
    Route("DELETE", OBJECT, "objects.delete", delete),
)
