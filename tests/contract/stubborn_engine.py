"""What a Docker Engine that cannot remove containers says, on its socket: as much of its API as a run asks for."""

import contextlib
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

IMAGE = f"sha256:{'ab' * 32}"
BUSY = 'driver "overlay2" failed to remove root filesystem: unlinkat /var/lib/docker: device or resource busy'

_SAID = {500: BUSY, 409: "removal of container is already in progress"}
_STATES = {500: "dead", 409: "removing"}  # of a container whose removal was answered so


@dataclass
class Container:
    """One that writes a line and a result, and ends with exit code 0, as soon as it is started."""

    id: str
    labels: dict[str, str]
    result: Path | None = None
    state: str = "created"
    ended: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        assert self.result
        self.result.write_text('{"it": "worked"}')
        self.state = "exited"
        self.ended.set()


class StubbornEngine:
    """Its containers, and how it answers who wants one removed."""

    def __init__(self, socket: Path) -> None:
        self.url = f"unix://{socket}"
        self.containers: dict[str, Container] = {}
        self.refusals: Iterator[int] = iter(())  # the next answers to removals; none: they work
        self.refused: list[int] = []
        self._lock = threading.Lock()

    def keep(self, labels: dict[str, str], state: str) -> None:
        """A container that is there already."""
        container = Container(f"{len(self.containers):064x}", labels, state=state)
        self.containers[container.id] = container

    def create(self, asked: dict[str, Any]) -> Container:
        (told,) = [mount["Source"] for mount in asked["HostConfig"]["Mounts"] if mount["Target"] == "/mayfly/told"]
        made = Container(f"{len(self.containers) + 100:064x}", asked["Labels"], Path(told, "result.json"))
        self.containers[made.id] = made
        return made

    def remove(self, container: Container) -> int:
        with self._lock:
            status = next(self.refusals, 204)
            if status == 204:
                self.containers.pop(container.id, None)
                return status
            self.refused.append(status)
            if container.state != "running":
                container.state = _STATES[status]
            return status


@contextmanager
def a_stubborn_engine(folder: Path) -> Iterator[StubbornEngine]:
    """Answering until the end of the block."""
    engine = StubbornEngine(folder / "sock")

    class Door(_Door):
        served = engine

    with _Server(str(folder / "sock"), Door) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: StubbornEngine

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v1\.\d+", "", unquote(url.path))
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        if found := re.fullmatch(r"/containers/([0-9a-f]{64})(/[a-z]+)?", path):
            container = self.served.containers.get(found[1])
            if container is None:
                return self._say(404, {"message": f"No such container: {found[1]}"})
            return self._of[f"{self.command} {found[2] or ''}"](self, container)
        match f"{self.command} {path}":
            case "GET /version":
                return self._say(200, {"Version": "20.10.24", "ApiVersion": "1.41"})
            case "GET /images/box:1/json":
                return self._say(200, {"Id": IMAGE, "RepoDigests": []})
            case "GET /containers/json":
                (label,) = json.loads(parse_qs(url.query)["filters"][0])["label"]
                return self._say(200, [_listed(one) for one in self._labelled(label)])
            case "POST /containers/create":
                return self._say(201, {"Id": self.served.create(body).id, "Warnings": []})
        raise AssertionError(f"no run asks this of an engine: {self.command} {path}")

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - as http.server calls them

    def _labelled(self, label: str) -> list[Container]:
        name, _, value = label.partition("=")
        return [one for one in list(self.served.containers.values()) if one.labels.get(name) == value]

    def _inspect(self, _: Container) -> None:
        self._say(200, {"Config": {"Tty": False}, "State": {"OOMKilled": False}})

    def _attach(self, container: Container) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "tcp")
        self.end_headers()
        container.ended.wait()
        self.wfile.write(struct.pack(">BxxxL", 1, 8) + b"at work\n")
        self.close_connection = True

    def _start(self, container: Container) -> None:
        container.work()
        self._say(204)

    def _wait(self, container: Container) -> None:
        container.ended.wait()
        self._say(200, {"StatusCode": 0})

    def _stop(self, _: Container) -> None:
        self._say(304)

    def _remove(self, container: Container) -> None:
        status = self.served.remove(container)
        self._say(status, {"message": _SAID[status]} if status in _SAID else None)

    _of: ClassVar[dict[str, Callable[["_Door", Container], None]]] = {
        "GET /json": _inspect,
        "POST /attach": _attach,
        "POST /start": _start,
        "POST /wait": _wait,
        "POST /stop": _stop,
        "DELETE ": _remove,
    }

    def _say(self, status: int, body: object = None) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked was killed meanwhile
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


def _listed(container: Container) -> dict[str, str]:
    return {"Id": container.id, "State": container.state}
