"""Around the door: which names we answer to, what answers say to browsers, how many callers are served at once."""

import logging
import re
import socket
from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vm_agent import policy
from vm_agent.identity import Metadata, NoMetadata
from vm_agent.problems import Crowded, Refused, WrongHost
from vm_agent.replies import SECURITY_HEADERS, problem

log = logging.getLogger(__name__)

ANY = "*"


class Guard:
    """Outside the door: refuses what was meant for another host, and puts SECURITY_HEADERS on every answer."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = frozenset(map(_plain, names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        host = Headers(scope=scope).get("Host")
        if host is None or self._ours(host):  # HTTP/1.0 has none, nor have browsers HTTP/1.0
            return await self._app(scope, receive, stamped)
        return await problem(WrongHost(f"this agent does not answer to the name {host[:255]!r}"))(
            scope, receive, stamped
        )

    def _ours(self, host: str) -> bool:
        """Any address, this machine's names, those of the settings.

        A page that has its own name point to us (DNS rebinding) has to show that name. An address cannot be had in this
        way, and which of them lead to us we cannot know: the static one comes and goes, a tunnel brings any.
        """
        name = _plain(_without_port(host))
        return ANY in self._names or name == "localhost" or name in self._names or _is_address(name)


class Bounded:
    """Inside the door: so many requests at once, and no more. The root, which tells how we are, is always free."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._served = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http" or scope["path"] == "/":
            return await self._app(scope, receive, send)
        if self._served >= policy.REQUESTS_MAX:
            refused: Refused = Crowded(f"{self._served} requests are being served")
            return await problem(refused)(scope, receive, send)
        self._served += 1
        try:
            return await self._app(scope, receive, send)
        finally:
            self._served -= 1


async def own_names(metadata: Metadata | NoMetadata) -> set[str]:
    """What this machine is called: by itself, and in Google's internal DNS."""
    names = {socket.gethostname()}
    try:
        names.add(await metadata.read("instance/hostname") or "")
    except OSError:
        log.warning("the metadata server does not tell this machine's name: it is not answered to")
    names |= {name.partition(".")[0] for name in names}
    return names - {""}


def _without_port(host: str) -> str:
    """The name or address in a Host header; nothing where it is neither."""
    found = re.fullmatch(r"(?:\[([^]]*)\]|([^:]*))(?::\d*)?", host)
    return (found[1] or found[2] or "") if found else ""


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False
