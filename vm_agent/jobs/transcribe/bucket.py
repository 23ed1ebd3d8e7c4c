"""Objects in Cloud Storage, by its JSON API and the VM's own service account.

`STORAGE_EMULATOR_HOST` (the name that Google's clients use) leads to another server than Google's.
"""

import base64
import hashlib
import io
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from vm_agent.jobs import metadata
from vm_agent.jobs.transcribe.download import TooLarge, download
from vm_agent.jobs.transcribe.errors import Unreachable

GOOGLE = "https://storage.googleapis.com"


@dataclass(frozen=True)
class StoredObject:
    """One object as a listing shows it."""

    bucket: str
    name: str
    size: int  # bytes
    generation: str  # changes with every overwrite
    md5: str | None  # base64; None for composed objects

    @property
    def url(self) -> str:
        """`gs://bucket/name`."""
        return f"gs://{self.bucket}/{self.name}"


def bucket_and_name(url: str) -> tuple[str, str]:
    """`gs://bucket/a/b` in its two parts, the name without a slash at its end."""
    parts = urlsplit(url, allow_fragments=False)
    return parts.netloc, f"{parts.path}?{parts.query}".removesuffix("?").strip("/")


def objects_in(url: str) -> list[StoredObject]:
    """The objects directly in the folder that `url` names."""
    bucket, folder = bucket_and_name(url)
    prefix = f"{folder}/" if folder else ""
    query = {"prefix": prefix, "delimiter": "/"}
    found: list[StoredObject] = []
    while True:
        listing = io.BytesIO()
        source = f"{_bucket_url(bucket)}?{urlencode(query)}"
        download(source, listing, bytes_max=math.inf, token=metadata.token(), called=url)
        answer = json.loads(listing.getvalue())
        found += [_stored(bucket, item) for item in answer.get("items", [])]
        if "nextPageToken" not in answer:
            return found
        query["pageToken"] = answer["nextPageToken"]


def download_object(url: str, into: BinaryIO, *, bytes_max: float) -> int:
    """Copy one object into an open file, and say how many bytes it was."""
    bucket, name = bucket_and_name(url)
    source = f"{_bucket_url(bucket)}/{quote(name, safe='')}?alt=media"
    return download(source, into, bytes_max=bytes_max, token=metadata.token(), called=url)


def download_checked(stored: StoredObject, to: Path) -> None:
    """Copy exactly this generation of an object into a file, and compare size and MD5 with the listing."""
    query = urlencode({"alt": "media", "generation": stored.generation})
    source = f"{_bucket_url(stored.bucket)}/{quote(stored.name, safe='')}?{query}"
    with to.open("w+b") as file:
        try:
            copied = download(source, file, bytes_max=stored.size, token=metadata.token(), called=stored.url)
        except TooLarge:
            copied = -1
        file.seek(0)
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
    if copied != stored.size or stored.md5 not in {None, base64.b64encode(digest).decode()}:
        raise Unreachable(f"{stored.url} arrived damaged. Try again.")


def _bucket_url(bucket: str) -> str:
    host = os.environ.get("STORAGE_EMULATOR_HOST") or GOOGLE
    origin = host if "://" in host else f"http://{host}"
    return f"{origin.rstrip('/')}/storage/v1/b/{quote(bucket, safe='')}/o"


def _stored(bucket: str, item: dict[str, str]) -> StoredObject:
    return StoredObject(bucket, item["name"], int(item["size"]), item["generation"], item.get("md5Hash"))
