"""The app on its socket: uvicorn, with what it leaves open closed."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vm_agent import policy

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, except that a signal lets waiting calls go at once (`leave`): they would hold up the shutdown."""

    def __init__(self, app: ASGIApp, leave: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=Protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the caller's address is what the socket says
                timeout_graceful_shutdown=5,
            )
        )
        self._leave = leave

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn, on a signal."""
        log.info("%s: leaving", signal.Signals(sig).name)
        asyncio.get_running_loop().call_soon_threadsafe(self._leave)
        super().handle_exit(sig, frame)


class Protocol(H11Protocol):
    """A connection on which no whole request head comes in time is closed: uvicorn itself would wait for ever."""

    _too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        super().connection_made(transport)
        self._mind_the_head()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        super().data_received(data)
        self._mind_the_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._stop_minding()
        super().connection_lost(exc)

    def _mind_the_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_minding()
        elif self._too_late is None:
            self._too_late = self.loop.call_later(policy.REQUEST_HEAD_SECONDS, self.transport.close)

    def _stop_minding(self) -> None:
        if self._too_late:
            self._too_late.cancel()
            self._too_late = None


async def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Where IPPROTO_TCP is not said outright, asyncio leaves Nagle's delay on: 40 ms a reply."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, _, _, address = found[0]
    listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _keep_alive(listening)
    listening.bind(address)
    listening.listen(128)
    return listening


def _keep_alive(listening: socket.socket) -> None:
    """For every connection accepted here: Google's firewall forgets those that are silent for ten minutes, as one is
    that waits for a run; and a caller that lost its power never says goodbye."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in policy.KEEP_ALIVE.items():
        if hasattr(socket, name):  # Linux has all of them
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
