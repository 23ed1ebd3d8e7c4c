"""The body of an upload to Cloud Storage: the bytes alone, JSON alone, or both in one multipart body."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any

from gcp_emulator.errors import ApiError, invalid
from gcp_emulator.wire import Request

PREFIX = "/upload"  # before the path of objects.insert
OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Upload:
    """What was sent: the object's properties as JSON text, and its content."""

    document: bytes
    content: bytes
    content_type: str

    def properties(self) -> dict[str, Any]:
        """Parse the JSON."""
        try:
            properties = json.loads(self.document)
        except ValueError as wrong:
            raise ApiError(400, "parseError", f"Parse Error: {wrong}") from wrong
        if not isinstance(properties, dict):
            raise ApiError(400, "parseError", "Parse Error: the metadata must be a JSON object")
        return properties


def is_upload(request: Request) -> bool:
    """Tell whether the body is more than JSON."""
    return request.path.startswith(f"{PREFIX}/")


def upload_in(request: Request) -> Upload:
    """Take an upload apart."""
    kind = request.query.get("uploadType")
    content_type = request.headers.get("content-type", OCTETS)
    if kind == "media":
        return Upload(b"{}", request.body, content_type)
    if kind == "resumable":
        return Upload(request.body or b"{}", b"", request.headers.get("x-upload-content-type", OCTETS))
    if kind != "multipart":
        raise invalid("uploadType", kind, "Must be media, multipart or resumable.")
    parts = list(_parts(request.body, content_type))
    if len(parts) != 2:  # noqa: PLR2004
        raise ApiError(400, "badContent", "Missing end boundary in multipart body.")
    (_, document), (head, content) = parts
    return Upload(document, content, head.get("content-type", OCTETS))


def _parts(body: bytes, content_type: str) -> Iterator[tuple[Message, bytes]]:
    """(headers, content) of each part. Not with a mail parser, which may touch what looks like lines of text."""
    header = Message()
    header["content-type"] = content_type
    boundary = b"--" + str(header.get_boundary("")).strip("'").encode()  # gcloud quotes it as Python does
    rest = body.partition(boundary)[2]
    newline = b"\r\n" if rest.startswith(b"\r\n") else b"\n"  # gcloud writes its parts as mail on Unix
    for part in rest.split(newline + boundary)[:-1]:
        head, _, content = part.partition(newline * 2)
        yield _headers(head.decode("latin-1")), content


def _headers(text: str) -> Message:
    headers = Message()
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return headers
