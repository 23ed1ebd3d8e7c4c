"""Which machine this is: the metadata server of Compute Engine, read over a plain socket; and the kernel's boot id."""

import asyncio
import base64
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic_core import from_json

from vm_agent import policy
from vm_agent.clock import Clock
from vm_agent.protocol import LEASE_ATTRIBUTE

log = logging.getLogger(__name__)

_REPLY_BYTES_MAX = 1 << 20
_NOT_FOUND = 404
_PASSING = {408, 429}


class Refused(OSError):
    """The metadata server does not take that, however often it is asked."""


@dataclass(frozen=True)
class _Answer:
    status: int
    body: str
    tag: str  # its ETag


@dataclass(frozen=True)
class Metadata:
    """The metadata server at `host` ("name" or "address:port")."""

    host: str

    async def read(self, path: str) -> str | None:
        """The value below computeMetadata/v1/, None if there is none. OSError when no answer can be had."""
        answer = await self._ask(path, policy.METADATA_SECONDS)
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != 200:  # noqa: PLR2004 - HTTP's own word for success
            raise OSError(f"the metadata server answered {answer.status} for {path}")
        return answer.body

    async def lease(self) -> str | None:
        """The lease on this VM, as the orchestrator wrote it."""
        return await self.read(f"instance/attributes/{LEASE_ATTRIBUTE}")

    async def attributes(self, tag: str) -> tuple[Mapping[str, str], str]:
        """The VM's attributes and their tag, once that is another than `tag`, or a minute later; "": at once.

        OSError when they cannot be had.
        """
        hang = policy.METADATA_HANG_SECONDS if tag else 0
        wait = f"&wait_for_change=true&timeout_sec={hang}&last_etag={tag}" if tag else ""
        answer = await self._ask(f"instance/attributes/?recursive=true&alt=json{wait}", hang + policy.METADATA_SECONDS)
        try:
            found = from_json(answer.body)
        except ValueError as problem:
            raise OSError("the metadata server's answer broke off") from problem
        if answer.status != 200 or not isinstance(found, dict):  # noqa: PLR2004 - HTTP's own word for success
            raise OSError(f"the metadata server answered {answer.status} for the attributes")
        return {str(name): str(value) for name, value in found.items()}, answer.tag

    async def write(self, path: str, value: bytes) -> None:
        """Put the value there. Refused if it never will be taken, OSError if another try may help."""
        answer = await self._ask(path, policy.METADATA_SECONDS, "PUT", value)
        if 400 <= answer.status < 500 and answer.status not in _PASSING:  # noqa: PLR2004 - HTTP's class of our own errors
            raise Refused(f"{answer.status} for {path}")
        if answer.status != 200:  # noqa: PLR2004 - HTTP's own word for success
            raise OSError(f"the metadata server answered {answer.status} for {path}")

    async def _ask(self, path: str, seconds: float, method: str = "GET", body: bytes = b"") -> "_Answer":
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(method, path, body)
        except TimeoutError as problem:
            raise OSError(f"no answer from the metadata server at {self.host}") from problem

    async def _exchange(self, method: str, path: str, body: bytes) -> "_Answer":
        address, _, port = self.host.partition(":")
        reader, writer = await asyncio.open_connection(address, int(port or 80))
        try:
            # HTTP/1.0: the answer comes unchunked and ends with the connection.
            request = (
                f"{method} /computeMetadata/v1/{path} HTTP/1.0\r\nHost: {self.host}\r\nMetadata-Flavor: Google\r\n"
            )
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            writer.write(f"{request}{length}\r\n".encode("ascii") + body)
            head, _, body = (await _all(reader)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        try:
            tag = re.search(rb"(?im)^etag: *([!-~]+)", head)
            return _Answer(int(head.split(None, 2)[1]), body.decode("utf-8"), tag[1].decode("ascii") if tag else "")
        except (IndexError, ValueError) as problem:
            raise OSError(f"the metadata server at {self.host} does not speak HTTP") from problem


class NoMetadata:
    """What a machine outside Compute Engine knows about itself."""

    async def read(self, path: str) -> str | None:  # noqa: ARG002
        """There is nothing to read."""
        return None

    async def lease(self) -> str | None:
        """Nobody can lease this machine."""
        return None

    async def attributes(self, tag: str) -> tuple[Mapping[str, str], str]:  # noqa: ARG002
        """There are none, and there never will be."""
        await asyncio.Event().wait()
        raise AssertionError


@dataclass(frozen=True)
class Identity:
    """Who this machine is, as it sees itself now: the external address may come and go while it runs."""

    metadata: Metadata | NoMetadata
    boot_id: str
    word: "GooglesWord | None" = None

    async def instance_id(self) -> str | None:
        """The number that `instances.get` shows."""
        return await self._seen("instance/id")

    async def egress_ip(self) -> str | None:
        """The external address on nic0."""
        return await self._seen("instance/network-interfaces/0/access-configs/0/external-ip") or None

    async def token(self) -> str | None:
        """What proves it to who trusts our certificate. None without one, or if it cannot be had now."""
        try:
            return await self.word.token() if self.word else None
        except OSError as problem:
            log.warning("no identity token: %s", problem)
            return None

    async def _seen(self, path: str) -> str | None:
        try:
            return await self.metadata.read(path)
        except OSError:
            return None


@dataclass
class GooglesWord:
    """The identity token of this instance, for one audience, kept for a while: callers ask ten times a second."""

    metadata: Metadata
    audience: str
    clock: Clock
    _token: str | None = None
    _until: float = -math.inf

    async def token(self) -> str | None:
        """A JWT. None where the VM has no service account. OSError when no answer can be had."""
        if self.clock.uptime() >= self._until:
            audience = quote(self.audience, safe="")
            path = f"instance/service-accounts/default/identity?audience={audience}&format=full"
            self._token = await self.metadata.read(path)
            self._until = self.clock.uptime() + self._seconds_to_keep()
        return self._token

    def _seconds_to_keep(self) -> float:
        """Google hands out one that it has made before, which may be over soon."""
        try:
            left = expiry(self._token) - self.clock.now().timestamp() if self._token else math.inf
        except ValueError:
            left = 0.0
        most = min(policy.IDENTITY_SECONDS, left - policy.IDENTITY_MARGIN_SECONDS)
        return max(most, policy.IDENTITY_SECONDS_MIN)


def expiry(token: str) -> float:
    """`exp` of a JWT, seconds since 1970. It comes from the metadata server itself: no signature to check.

    ValueError for what is no JWT.
    """
    try:
        claims = token.split(".")[1]
        return float(from_json(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError) as problem:
        raise ValueError("the metadata server's answer is no ID token") from problem


async def find_metadata(host: str) -> Metadata | NoMetadata:
    """The metadata server if this is a VM of Compute Engine (or says it is one), else none."""
    metadata = Metadata(host)
    try:
        await metadata.read("instance/id")
    except OSError:
        return NoMetadata()
    return metadata


def boot_id(root: Path) -> str:
    """The kernel's name for this boot."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


async def _all(reader: asyncio.StreamReader) -> bytes:
    reply = b""
    while chunk := await reader.read(1 << 16):
        reply += chunk
        if len(reply) > _REPLY_BYTES_MAX:
            raise OSError("the metadata server's answer has no end")
    return reply
