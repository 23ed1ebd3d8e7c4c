"""Everything that answers on the emulator's own origin: APIs, batches, a metadata server for callers, the live page."""

import importlib.resources
import re
from collections.abc import Callable

from gcp_emulator.asgi import Handler, json_reply
from gcp_emulator.batch import answer_batch
from gcp_emulator.caller import FLAVOR, Caller
from gcp_emulator.caller import PREFIX as METADATA_PREFIX
from gcp_emulator.wallclock import WallClock
from gcp_emulator.wire import Lost, Reply, Request

HERE = re.compile(r"http://(localhost|127(\.\d+){3})(:\d+)?")


class Console:
    """Sends each request to whom it is for."""

    def __init__(self, front: Handler, caller: Callable[[], Caller], clock: WallClock) -> None:
        """`caller` gives the metadata server of who calls this world; another seed may have another caller."""
        self._front = front
        self._caller = caller
        self._clock = clock

    async def answer(self, request: Request) -> Reply | Lost:
        """Answer one request of a client, a VM's caller or a browser."""
        if _from_another_page(request):
            return json_reply(403, {"error": {"code": 403, "message": "Not from another page of a browser."}})
        match request.method, request.path:
            case "GET" | "HEAD", "/":
                return _page()
            case "POST", path if path.startswith("/batch"):
                return await answer_batch(request, self._front)
            case "GET", path if path.startswith(METADATA_PREFIX):
                return self._caller().answer(request, self._clock.now())
            case _:
                return await self._front(request)


def _from_another_page(request: Request) -> bool:
    """Tell whether a page of somebody else's makes a browser ask: it could start programs here, as a job's command.

    A browser says with every such request which page it is from, and no other client does. The origin of our own page
    is this machine, by number: other names can be made to lead here.
    """
    origin = request.headers.get("origin")
    return origin is not None and HERE.fullmatch(origin) is None


def _page() -> Reply:
    """The live page. Its headers also answer Google's libraries, which ask `/` whether a metadata server is there."""
    page = importlib.resources.files(__package__) / "page.html"
    return Reply(200, page.read_bytes(), {"content-type": "text/html; charset=UTF-8", **FLAVOR})
