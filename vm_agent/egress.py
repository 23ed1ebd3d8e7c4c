"""By which address this VM goes out: an exchange that lists one address must not meet a run from another."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from urllib.parse import urlsplit

from vm_agent import policy
from vm_agent.link_local import refuse_link_local
from vm_agent.problems import WrongEgress

Look = Callable[[], Awaitable[str | None]]


async def must_be(wanted: str, looks: Mapping[str, Look]) -> None:
    """Return once every look (by its name) shows the wanted address, or raise WrongEgress.

    The metadata server may tell of an address that was just attached a few seconds late.
    """
    shown: dict[str, str | None] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(policy.EGRESS_SECONDS):
            for name, look in looks.items():
                shown[name] = None
                while (found := await look()) != wanted:
                    shown[name] = found
                    await asyncio.sleep(policy.EGRESS_LOOK_SECONDS)
                shown[name] = wanted
    if shown != dict.fromkeys(looks, wanted):
        said = ", ".join(f"{name} shows {found or 'none'}" for name, found in shown.items())
        raise WrongEgress(f"the run was to go out by {wanted}, but {said}: nothing was run")


class Echo:
    """A page that tells its caller by which address it came: the proof from outside."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is not an http(s) URL")
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname, parts.port or self._kind.default_port
        self._path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"

    async def look(self) -> str | None:
        """The address that it tells; None if it tells none."""
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> str | None:
        """Straight there: a proxy goes out by an address of its own. A redirect is no answer, wherever it leads."""
        connection = self._kind(self._host, self._port, timeout=policy.EGRESS_ECHO_SECONDS)
        try:
            connection.connect()
            refuse_link_local(connection.sock)
            connection.request("GET", self._path, headers={"Accept": "text/plain"})
            answer = connection.getresponse()
            said = answer.read(policy.EGRESS_ECHO_BYTES_MAX).decode("ascii").strip()
            return str(ip_address(said)) if answer.status == 200 else None  # noqa: PLR2004 - HTTP's word for success
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()
