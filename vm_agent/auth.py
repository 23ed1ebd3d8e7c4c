"""Who is calling. Each way to prove it is one Credential; any of them opens the door."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vm_agent.protocol import API_KEY_HEADER


@dataclass(frozen=True)
class Caller:
    """Somebody who proved who they are."""

    name: str


class Credential(Protocol):
    """One way to prove who one is."""

    def presented(self, headers: Mapping[str, str]) -> bool:
        """Whether the caller tries this way at all."""

    async def check(self, headers: Mapping[str, str]) -> Caller | None:
        """The caller, or None if the proof does not hold."""


class ApiKey:
    """X-API-Key, compared in constant time."""

    def __init__(self, key: str) -> None:
        if not key.strip():
            raise ValueError("an empty API key would let everybody in")
        self._digest = _digest(key)  # digests are of one length: the comparison tells not even how long the key is

    def presented(self, headers: Mapping[str, str]) -> bool:
        """The header is there."""
        return API_KEY_HEADER in headers

    async def check(self, headers: Mapping[str, str]) -> Caller | None:
        """Whoever knows the key."""
        if hmac.compare_digest(_digest(headers[API_KEY_HEADER]), self._digest):
            return Caller("API key")
        return None


class CloudRun:
    """Whoever Cloud Run has let in: it asks for `run.invoker` before it passes a request on, and shows us no signature
    that we could check ourselves. Only for a service that is not open to all."""

    challenge = 'Bearer realm="cloud run"'
    advice = "Cloud Run lets in who may invoke this service"

    def presented(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Everybody has been asked already."""
        return True

    async def check(self, headers: Mapping[str, str]) -> Caller:  # noqa: ARG002
        """Always."""
        return Caller("Cloud Run")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", errors="surrogateescape")).digest()
