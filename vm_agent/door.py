"""The door of the app: nobody passes without credentials, no caller with an epoch that is over.

Plain ASGI around the whole app, so that a path that does not exist is as closed as one that does.
"""

import logging
import re
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vm_agent.auth import Caller, Credential
from vm_agent.fence import Fence
from vm_agent.problems import BadRequest, Refused, Unauthorized
from vm_agent.protocol import EPOCH_HEADER
from vm_agent.replies import problem

log = logging.getLogger(__name__)


class Door:
    """Lets a request in with `scope["state"]["caller"]` and `["epoch"]` set, or answers it itself."""

    def __init__(
        self, app: ASGIApp, *, credentials: Sequence[Credential], fence: Fence, heard: Callable[[], None]
    ) -> None:
        if not credentials:
            raise ValueError("without a way to authenticate the agent would obey anybody")
        self._app = app
        self._credentials = credentials
        self._fence = fence
        self._heard = heard  # somebody whom we know is there

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no WebSockets here
        try:
            await self._admit(scope)
        except Refused as refused:
            await problem(refused)(scope, receive, send)
            return
        await self._app(scope, receive, self._listening(send) if scope["state"]["caller"] else send)

    def _listening(self, send: Send) -> Send:
        """Who takes what we say is still there, an hour's download long."""
        self._heard()

        async def sent(message: Message) -> None:
            await send(message)
            self._heard()

        return sent

    async def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        state["caller"], state["epoch"] = await self._caller(scope, headers), None
        if state["caller"] and EPOCH_HEADER in headers:
            state["epoch"] = _epoch(headers[EPOCH_HEADER])
            self._fence.hear(state["epoch"])

    async def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        presented = [credential for credential in self._credentials if credential.presented(headers)]
        for credential in presented:
            if caller := await credential.check(headers):
                return caller
        if not presented and scope["method"] in {"GET", "HEAD"} and scope["path"] == "/":
            return None  # anybody may know whether the agent is well
        who = scope["client"][0] if scope.get("client") else "unknown"
        what = "wrong credentials" if presented else "no credentials"
        log.warning("refused: %s from %s for %s %s", what, who, scope["method"], scope["path"])
        raise Unauthorized(what)


def _epoch(value: str) -> int:
    if re.fullmatch("[0-9]{1,18}", value):  # up to fence.EPOCH_MAX
        return int(value)
    raise BadRequest(f"{EPOCH_HEADER} must be a whole number")
