"""Everything that answers on the emulator's own origin: APIs, batches, a metadata server for callers, the live page."""

import importlib.resources
from collections.abc import Callable

from gcp_emulator.asgi import Handler
from gcp_emulator.batch import answer_batch
from gcp_emulator.caller import FLAVOR, Caller
from gcp_emulator.caller import PREFIX as METADATA_PREFIX
from gcp_emulator.wallclock import WallClock
from gcp_emulator.wire import Lost, Reply, Request


class Console:
    """Sends each request to whom it is for."""

    def __init__(self, front: Handler, caller: Callable[[], Caller], clock: WallClock) -> None:
        """`caller` gives the metadata server of who calls this world; another seed may have another caller."""
        self._front = front
        self._caller = caller
        self._clock = clock

    async def answer(self, request: Request) -> Reply | Lost:
        """Answer one request of a client, a VM's caller or a browser."""
        match request.method, request.path:
            case "GET" | "HEAD", "/":
                return _page()
            case "POST", path if path.startswith("/batch"):
                return await answer_batch(request, self._front)
            case "GET", path if path.startswith(METADATA_PREFIX):
                return self._caller().answer(request, self._clock.now())
            case _:
                return await self._front(request)


def _page() -> Reply:
    """The live page. Its headers also answer Google's libraries, which ask `/` whether a metadata server is there."""
    page = importlib.resources.files(__package__) / "page.html"
    return Reply(200, page.read_bytes(), {"content-type": "text/html; charset=UTF-8", **FLAVOR})
