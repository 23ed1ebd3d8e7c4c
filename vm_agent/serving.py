"""The app on its socket: uvicorn, with what it leaves open closed."""

import asyncio
import logging
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from vm_agent import policy
from vm_agent.connections import Connection, Crowd

log = logging.getLogger(__name__)


class TimelyServer(uvicorn.Server):
    """uvicorn, which leaves a TLS handshake a minute: here a silent one may take no longer than a silent head."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn."""
        loop = asyncio.get_running_loop()
        if self.config.ssl:
            create = partial(loop.create_server, ssl_handshake_timeout=policy.REQUEST_HEAD_SECONDS)
            loop.create_server = create  # type: ignore[method-assign] # uvicorn has no setting for it
        await super().startup(sockets)


class Server(TimelyServer):
    """uvicorn, except that a signal lets waiting calls go at once (`leave`): they would hold up the shutdown.

    `certificate`: a PEM file with the private key in it; without one it speaks plain HTTP.
    """

    def __init__(self, app: ASGIApp, leave: Callable[[], None], certificate: Path | None = None) -> None:
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=partial(Connection, crowd=Crowd()),  # type: ignore[arg-type] # uvicorn only calls it
            h11_max_incomplete_event_size=policy.HEAD_BYTES_MAX,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the caller's address is what the socket says
            timeout_graceful_shutdown=5,
            ssl_certfile=certificate,
        )
        config.load()
        if config.ssl:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        super().__init__(config)
        self._leave = leave

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn, on a signal."""
        log.info("%s: leaving", signal.Signals(sig).name)
        asyncio.get_running_loop().call_soon_threadsafe(self._leave)
        super().handle_exit(sig, frame)


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


def allow_open_files() -> None:
    """As many as policy says, where the system lets us."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < policy.OPEN_FILES:
        wanted = policy.OPEN_FILES if most == resource.RLIM_INFINITY else min(policy.OPEN_FILES, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _keep_alive(listening: socket.socket) -> None:
    """For every connection accepted here: Google's firewall forgets those that are silent for ten minutes, as one is
    that waits for a run; and a caller that lost its power never says goodbye."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in policy.KEEP_ALIVE.items():
        if hasattr(socket, name):  # Linux has all of them
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
