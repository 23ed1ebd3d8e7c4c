"""A web server on this machine, with whatever pages a test puts on it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Page:
    """One answer; `length` is what Content-Length says, if not the truth."""

    body: bytes = b""
    status: int = 200
    length: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Web:
    """A server and its pages, by path without the query, or by path with it."""

    def __init__(self) -> None:
        self.pages: dict[str, Page | Callable[[str], Page]] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _page(self, path: str) -> Page:
        found = self.pages.get(path) or self.pages.get(path.partition("?")[0]) or Page(status=404)
        return found if isinstance(found, Page) else found(path)

    def _handler(web) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the request below
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.path, self.headers))
                page = web._page(self.path)
                self.send_response(page.status)
                self.send_header("Content-Length", str(len(page.body) if page.length is None else page.length))
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(ConnectionError):  # whoever has read enough hangs up
                    self.wfile.write(page.body)

            def log_message(self, *_: Any) -> None:
                """Tests have enough to say."""

        return Handler


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def page() -> type[Page]:
    return Page
