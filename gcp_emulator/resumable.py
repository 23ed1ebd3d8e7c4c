"""Cloud Storage: how an object comes: in one request, or, as clients send large files, in several.

POST ?uploadType=resumable -> 200, Location: ...&upload_id=ID
PUT  ...&upload_id=ID      -> 308, Range: bytes=0-N  (so much is here: go on)
                           -> 200, the object        (that was the last of it)
"""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gcp_emulator.buckets import find
from gcp_emulator.errors import HTML_TYPE, ApiError, invalid
from gcp_emulator.objects import OBJECTS, check_preconditions, name_of, origin, put
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.uploads import PREFIX, Upload, upload_in
from gcp_emulator.wire import Reply

if TYPE_CHECKING:
    from gcp_emulator.world import World

CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)")


@dataclass(slots=True)
class Session:
    """One upload under way."""

    begun: Call  # it says the name, the properties and the conditions
    content: bytearray = field(default_factory=bytearray)


def insert(world: "World", call: Call) -> Answer:
    """Make an object, or a new generation of it, or begin to."""
    if call.query.get("uploadType") == "resumable":
        return _begin(world, call)
    return put(world, find(world, call), call, upload_in(call.request))


def _begin(world: "World", call: Call) -> Answer:
    """Take in what the object will be, and say where its content goes."""
    bucket = find(world, call)
    check_preconditions(call, bucket.objects.get(name_of(call, upload_in(call.request))))
    identifier = world.new_id()
    world.uploads[identifier] = Session(call)
    place = f"{origin(call)}{call.request.path}?uploadType=resumable&upload_id={identifier}"
    return Reply(200, b"", {**HTML_TYPE, "location": place, "x-guploader-uploadid": identifier})


def go_on(world: "World", call: Call) -> Answer:
    """Take in a piece; with the last one the object is there, if its conditions still hold."""
    session = world.uploads.get(call.query.get("upload_id", ""))
    if session is None:
        raise ApiError(404, "notFound", "Not Found")
    total = _append(session, call)
    if total is None or len(session.content) < total:
        here = {"range": f"bytes=0-{len(session.content) - 1}"} if session.content else {}
        return Reply(308, b"", {**HTML_TYPE, **here})
    del world.uploads[call.query["upload_id"]]
    described = upload_in(session.begun.request)
    upload = Upload(described.document, bytes(session.content), described.content_type)
    return put(world, find(world, call), session.begun, upload)


def _append(session: Session, call: Call) -> int | None:
    """The whole length, as far as it is known. A piece that overlaps what is here brings the rest only."""
    said = call.request.headers.get("content-range")
    if said is None:
        session.content[:] = call.request.body
        return len(session.content)
    match = CONTENT_RANGE.fullmatch(said)
    if match is None or (match["first"] and int(match["first"]) > len(session.content)):
        raise invalid("Content-Range", said, "Failed to parse Content-Range header.")
    if match["first"]:
        session.content[int(match["first"]) :] = call.request.body
    return None if match["total"] == "*" else int(match["total"])


ROUTES = (
    Route("POST", f"{PREFIX}{OBJECTS}", "objects.insert", insert),
    Route("PUT", f"{PREFIX}{OBJECTS}", "objects.insert", go_on),
)
