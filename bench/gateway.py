"""The gateway under load, next to nginx in front of the same service, in one run.

    uv run --all-extras python bench/gateway.py [--gigabytes 2] [--streams 200]

- 2 GB through the gateway in each direction: the bytes' hashes, and how much its memory grew
- megabytes a second in each direction, directly, through nginx and through the gateway, and the last two's ratio
- many streams of 2 MB at once, and small requests one after the other, likewise

nginx is Debian's nginx-light, one worker, not buffering, as the gateway does not: without it that column is missing.
All of it is plain HTTP on loopback: the service, the clients and what they measure share this machine's processors.
"""

import argparse
import asyncio
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # the gateway's surroundings are the tests' own

from bench.gateway_origin import PATTERN
from tests.contract.gateway_at_work import PHONE, MetadataServer, gateway_process

GROWTH_MEGABYTES_MAX = 20
STREAM_MEGABYTES = 2
SMALL_REQUESTS = 1000
ROUNDS = 3  # the best one counts: other programs only ever make it worse

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream service {{ server 127.0.0.1:{origin}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port}; client_max_body_size 0;
        location / {{
            proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off; proxy_request_buffering off;
        }}
    }}
}}
"""


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--streams", type=int, default=200)
    arguments = parser.parse_args()
    size = int(arguments.gigabytes * 1000) * len(PATTERN)
    print(f"{platform.platform()}, {_processor()} x {os.cpu_count()}, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, uvicorn {version('uvicorn')}, h11 {version('h11')}, {_nginx_version()}")
    with _origin() as origin, MetadataServer().serving() as metadata:
        asyncio.run(_measure(origin, metadata, size, arguments.streams))


async def _measure(origin: int, metadata: MetadataServer, size: int, streams: int) -> None:
    async with gateway_process(f"http://127.0.0.1:{origin}", metadata.host) as gateway:
        await asyncio.to_thread(_whole_and_in_little_memory, psutil.Process(gateway.process.pid), gateway.port, size)
        with _nginx(origin) as nginx:
            ways = {"directly": origin, **({"nginx": nginx} if nginx else {}), "gateway": gateway.port}
            await asyncio.to_thread(_compare, ways, size // 4, streams)


def _whole_and_in_little_memory(process: psutil.Process, port: int, size: int) -> None:
    expected = hashlib.sha256()
    for _ in range(size // len(PATTERN)):
        expected.update(PATTERN)
    _take(port, 4 * len(PATTERN))  # warm
    with _watched(process) as grown:
        took = _take(port, size, hashed=True)
        gave = _give(port, size, hashed=True)
    assert took == gave == expected.hexdigest(), "the bytes are not the same"
    print(f"{size >> 20} MiB each way: hashes equal, memory grew by {grown():.1f} MB")
    assert grown() < GROWTH_MEGABYTES_MAX


def _compare(ways: Mapping[str, int], size: int, streams: int) -> None:
    def fan_out(port: int) -> None:
        with ThreadPoolExecutor(streams) as pool:
            list(pool.map(lambda _: _give(port, STREAM_MEGABYTES * len(PATTERN)), range(streams)))

    def one_by_one(port: int) -> None:
        with _connection(port) as connection:
            for _ in range(SMALL_REQUESTS):
                _ask(connection, b"GET /give/0 HTTP/1.1", b"")

    megabytes = size >> 20
    _row("upload, MiB/s", ways, lambda port: _take(port, size), megabytes)
    _row("download, MiB/s", ways, lambda port: _give(port, size), megabytes)
    _row(f"{streams} downloads at once, MiB/s", ways, fan_out, streams * STREAM_MEGABYTES)
    _row("small requests, one by one, a second", ways, one_by_one, SMALL_REQUESTS)


def _row(title: str, ways: Mapping[str, int], do: Callable[[int], object], amount: float) -> None:
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, port in ways.items():
            began = time.perf_counter()
            do(port)
            best[name] = min(best[name], time.perf_counter() - began)
    told = "  ".join(f"{name} {amount / seconds:8.0f}" for name, seconds in best.items())
    ratio = f"  gateway/nginx {best['nginx'] / best['gateway']:.2f}" if "nginx" in best else ""
    print(f"{title:38} {told}{ratio}", flush=True)


# ---- the clients --------------------------------------------------------------------------------------------


def _take(port: int, size: int, *, hashed: bool = False) -> str:
    with _connection(port) as connection:
        extra = b"X-Hash: 1\r\n" if hashed else b""
        connection.sendall(_head(b"POST /take HTTP/1.1", extra + f"Content-Length: {size}\r\n".encode()))
        for _ in range(size // len(PATTERN)):
            connection.sendall(PATTERN)
        return _rest_of(connection, *_answer(connection)).decode()


def _give(port: int, size: int, *, hashed: bool = False) -> str:
    digest, room = hashlib.sha256(), memoryview(bytearray(1 << 20))
    with _connection(port) as connection:
        connection.sendall(_head(f"GET /give/{size} HTTP/1.1".encode(), b""))
        length, begun = _answer(connection)
        assert length == size
        digest.update(begun)
        got = len(begun)
        while got < size:
            more = connection.recv_into(room)
            assert more, "the answer broke off"
            if hashed:
                digest.update(room[:more])
            got += more
    return digest.hexdigest()


def _ask(connection: socket.socket, line: bytes, extra: bytes) -> bytes:
    connection.sendall(_head(line, extra))
    return _rest_of(connection, *_answer(connection))


def _head(line: bytes, extra: bytes) -> bytes:
    return line + f"\r\nHost: bench\r\nX-API-Key: {PHONE}\r\n".encode() + extra + b"\r\n"


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    """Its length, and what came of it with the head."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(1 << 16)
        assert more, "no answer"
        head += more
    head, _, begun = head.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    lengths = [line.partition(b":")[2] for line in head.splitlines() if line.lower().startswith(b"content-length")]
    return int(lengths[0]), begun


def _rest_of(connection: socket.socket, length: int, begun: bytes) -> bytes:
    while len(begun) < length:
        begun += connection.recv(length - len(begun))
    return begun


def _connection(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=300)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


# ---- what they speak to -------------------------------------------------------------------------------------


@contextmanager
def _origin() -> Iterator[int]:
    script = Path(__file__).with_name("gateway_origin.py")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        process.kill()


@contextmanager
def _nginx(origin: int) -> Iterator[int | None]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not program:
        print("nginx is not installed, so nothing is compared with it. On Debian: apt-get install nginx-light")
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        settings = Path(folder, "nginx.conf")
        settings.write_text(NGINX.format(folder=folder, origin=origin, port=port), encoding="ascii")
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - its worker is nobody
        with subprocess.Popen([program, "-c", settings, "-p", folder]) as process:
            _until_it_listens(port)
            yield port
            process.terminate()


def _until_it_listens(port: int) -> None:
    for _ in range(100):
        try:
            _connection(port).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("nginx did not start")


@contextmanager
def _watched(process: psutil.Process) -> Iterator[Callable[[], float]]:
    """How many MB its memory grew, at its highest."""
    before, most, over = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield lambda: max(0, most[0] - before) / 1e6
    finally:
        over.set()
        watching.join()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")


def _nginx_version() -> str:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    return subprocess.run([program, "-v"], capture_output=True, text=True).stderr.strip() if program else "no nginx"  # noqa: PLW1510


if __name__ == "__main__":
    main()
