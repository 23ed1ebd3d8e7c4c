"""The way from an external address to a VM, which is open only while its access config is there and it runs."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable

from gcp_emulator.loopback import listen

CHUNK_BYTES = 1 << 16


class Forwarding:
    """All open ways, by external address."""

    def __init__(self, ports: Iterable[int]) -> None:
        self._ports = tuple(ports)
        self._ways: dict[str, list[_Way]] = {}

    def silence(self, external: str) -> None:
        """Hold up every byte and every new connection; nobody is told, as on a network that drops packets."""
        for way in self._ways.get(external, []):
            way.silence()

    def end_silence(self, external: str) -> None:
        """Let through what was held up, as senders that tried again and again would."""
        for way in self._ways.get(external, []):
            way.end_silence()

    def open(self, external: str, internal: str) -> None:
        """From now on a connection to external:PORT reaches internal:PORT, for each forwarded port."""
        self.close(external)
        self._ways[external] = [_Way(listen(external, port), internal, port) for port in self._ports]

    def close(self, external: str) -> None:
        """The address answers no more, and its live connections are cut, as when Google takes it off a VM."""
        for way in self._ways.pop(external, []):
            way.close()

    def close_all(self) -> None:
        """As `close`, for every address."""
        for external in list(self._ways):
            self.close(external)


class _Way:
    """One listening port and its connections."""

    def __init__(self, listener: socket.socket, internal: str, port: int) -> None:
        self._listener = listener
        self._target = internal, port
        self._connections: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Event()
        self.end_silence()

    def silence(self) -> None:
        """A connection is accepted by the system all the same; on a real network it would hang before that."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._gate.clear()

    def end_silence(self) -> None:
        self._gate.set()
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for connection in self._connections:
            connection.cancel()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the caller has thought better of it
            caller, _ = self._listener.accept()
            caller.setblocking(False)
            connection = asyncio.create_task(_connect(caller, self._target, self._gate))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)


async def _connect(caller: socket.socket, target: tuple[str, int], gate: asyncio.Event) -> None:
    """Carry bytes both ways, never more than a chunk of them in memory, until both sides have finished."""
    loop = asyncio.get_running_loop()
    with caller, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as machine:
        machine.setblocking(False)
        for side in (caller, machine):  # Nagle would hold back the second half of every small message for 40 ms
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(machine, target)
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(caller, machine, gate))
                both.create_task(_carry(machine, caller, gate))
        except* OSError:
            _reset_on_close(caller, machine)
        except* asyncio.CancelledError:
            _reset_on_close(caller, machine)


async def _carry(source: socket.socket, target: socket.socket, gate: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK_BYTES):
        await gate.wait()
        await loop.sock_sendall(target, data)
    await gate.wait()
    target.shutdown(socket.SHUT_WR)


def _reset_on_close(*connections: socket.socket) -> None:
    """Whoever is still connected shall see a broken connection, not an orderly end."""
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
