"""A service as fast as sockets let Python be: gives and takes bytes, a thread for each connection.

GET /give/BYTES     the pattern, over and over
POST /take          X-Hash: 1 -> the SHA-256 of the body, else its length
"""

import hashlib
import re
import socket
import threading

PATTERN = bytes(range(256)) * 4096  # 1 MiB


def serve(listening: socket.socket) -> None:
    """For ever."""
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_converse, args=(connection,), daemon=True).start()


def _converse(connection: socket.socket) -> None:
    with connection:
        rest = b""
        try:
            while True:
                while b"\r\n\r\n" not in rest:
                    more = connection.recv(1 << 16)
                    if not more:
                        return
                    rest += more
                head, _, rest = rest.partition(b"\r\n\r\n")
                rest = _answer(connection, head, rest)
        except OSError:
            return


def _answer(connection: socket.socket, head: bytes, rest: bytes) -> bytes:
    if asked := re.match(rb"GET /give/(\d+) ", head):
        _give(connection, int(asked[1]))
        return rest
    length = int((re.search(rb"(?im)^content-length: *(\d+)", head) or [b"", b"0"])[1])
    told = _take(connection, rest[:length], length, hashed=b"x-hash: 1" in head.lower())
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(told)}\r\n\r\n{told}".encode())
    return rest[length:]


def _give(connection: socket.socket, size: int) -> None:
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
    view = memoryview(PATTERN)
    while size:
        size -= connection.send(view[: min(size, len(PATTERN))] if size % len(PATTERN) == 0 else _tail(view, size))


def _tail(view: memoryview, size: int) -> memoryview:
    """From where the pattern is, after what was sent so far. The whole is a multiple of the pattern."""
    return view[len(PATTERN) - size % len(PATTERN) :]


def _take(connection: socket.socket, begun: bytes, length: int, *, hashed: bool) -> str:
    digest, got, room = hashlib.sha256(begun), len(begun), memoryview(bytearray(1 << 20))
    while got < length:
        size = connection.recv_into(room, min(len(room), length - got))
        if not size:
            raise OSError("the body broke off")
        if hashed:
            digest.update(room[:size])
        got += size
    return digest.hexdigest() if hashed else str(got)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=512) as door:
        print(door.getsockname()[1], flush=True)
        serve(door)
