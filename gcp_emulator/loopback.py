"""Listening on the loopback addresses that stand for the network of an emulated cloud."""

import errno
import socket

LOCALHOST = "127.0.0.1"
BACKLOG = 512


class NoLoopbackAddressError(OSError):
    """The system has no such loopback address, so an emulated VM cannot have it."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"this system does not answer on {address}. Each emulated VM, and each external address, needs a loopback "
            "address of its own, so that agents and metadata servers can use the same ports as in Google's cloud. "
            f"Add it (macOS: `sudo ifconfig lo0 alias {address} up`, until the next boot) and start again with the "
            "same --port, which decides the addresses.",
        )


class PortTakenError(OSError):
    """Somebody else listens there already."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(f"{address}:{port} is taken: is another emulator running? Choose a --port.")


def listen(address: str, port: int) -> socket.socket:
    """A socket that already accepts connections: whoever connects from now on is served.

    Where IPPROTO_TCP is not said outright, asyncio leaves Nagle's delay on: 40 ms a reply.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise NoLoopbackAddressError(address) from error
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(address, port) from error
        raise
    listener.setblocking(False)
    return listener
