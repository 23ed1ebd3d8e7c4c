"""One HTTP listener: uvicorn on a socket that is already open, inside an event loop that belongs to somebody else."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

GRACE_SECONDS = 1  # for requests under way, when the listener closes


class Listener:
    """Serves an ASGI app on a socket until it is closed."""

    def __init__(self, listening: socket.socket, app: Any) -> None:
        self._socket = listening
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _QuietServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))

    async def close(self) -> None:
        """Refuse new connections, and end those that are open."""
        self._server.should_exit = True
        await self._serving
        self._socket.close()


class _QuietServer(uvicorn.Server):
    """Signals are for whoever runs the loop, and several servers share it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
