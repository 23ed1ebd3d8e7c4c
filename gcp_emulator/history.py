"""What happened, in order: tests ask this, never their own memory.

Kinds: request, operation, state, guest, fault. Never kept: Authorization headers, payloads of secrets, contents of
objects, what /_emulator itself was asked.
"""

import json
import re
from collections import deque
from datetime import datetime
from typing import Any

from gcp_emulator.wire import Request

KEPT = 50_000  # entries; a long session of the demo must not eat the laptop
BODY_BYTES_KEPT = 1 << 16
PAYLOADS = re.compile(r"/secrets/|\A/upload/")


class History:
    """The last entries, numbered from the beginning."""

    def __init__(self) -> None:
        self.entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.written = 0

    def add(self, at: datetime, kind: str, **facts: Any) -> None:
        """Write down one thing that happened."""
        self.entries.append({"at": at, "kind": kind, **facts})
        self.written += 1

    def add_request(self, at: datetime, request: Request, verb: str, status: int, **facts: Any) -> None:
        """Write down a request that was answered; its body is decoded when somebody reads it."""
        self.add(
            at,
            "request",
            method=request.method,
            path=request.path,
            query=request.query,
            verb=verb,
            status=status,
            body=b"" if PAYLOADS.search(request.path) else request.body,
            **facts,
        )

    def since(self, number: int) -> dict[str, Any]:
        """Give the entries from this number on, as JSON, and the number to go on with."""
        first_kept = self.written - len(self.entries)
        skip = max(0, number - first_kept)
        entries = [_as_json(entry) for index, entry in enumerate(self.entries) if index >= skip]
        return {"entries": entries, "next": self.written}


def _as_json(entry: dict[str, Any]) -> dict[str, Any]:
    document = {name: value for name, value in entry.items() if value is not None}
    for name in ("at", "asked_at"):
        if name in document:
            document[name] = document[name].isoformat()
    if "query" in document:
        document["query"] = dict(document["query"])
    if "body" in document:
        document["body"] = _readable(document["body"])
    return document


def _readable(body: bytes) -> Any:
    if not body:
        return None
    if len(body) > BODY_BYTES_KEPT:
        return f"({len(body)} bytes)"
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
