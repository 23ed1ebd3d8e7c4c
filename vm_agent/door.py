"""The door of the app: nobody passes without credentials, no caller with an epoch that is over.

Plain ASGI around the whole app, so that a path that does not exist is as closed as one that does.
"""

import logging
import re
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vm_agent.attempts import Attempts
from vm_agent.auth import PROOFS, Caller, Credential, NotProven
from vm_agent.fence import Fence
from vm_agent.problems import BadRequest, KeysOutOfReach, Refused, TooManyAttempts, Unauthorized
from vm_agent.protocol import EPOCH_HEADER
from vm_agent.replies import problem
from vm_agent.signed import NoKeys

log = logging.getLogger(__name__)


class Door:
    """Lets a request in with `scope["state"]["caller"]` and `["epoch"]` set, or answers it itself."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        credentials: Sequence[Credential],
        attempts: Attempts,
        fence: Fence,
        heard: Callable[[], None],
    ) -> None:
        if not credentials:
            raise ValueError("without a way to authenticate the agent would obey anybody")
        self._app = app
        self._credentials = credentials
        self._attempts = attempts
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
        if scope["state"]["caller"]:
            receive, send = self._listening(receive, send)
        await self._app(scope, receive, send)

    def _listening(self, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """Who takes what we say, or goes on saying something, is still there, an hour's file long."""
        self._heard()

        async def received() -> Message:
            message = await receive()
            if message.get("body"):  # a caller that hangs up says nothing
                self._heard()
            return message

        async def sent(message: Message) -> None:
            await send(message)
            self._heard()

        return received, sent

    async def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        state["caller"], state["epoch"] = await self._caller(scope, headers), None
        if state["caller"] and EPOCH_HEADER in headers:
            state["epoch"] = _epoch(headers[EPOCH_HEADER])
            self._fence.hear(state["epoch"])

    async def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        shown = "\n".join(f"{name}: {headers[name]}" for name in PROOFS if name in headers)
        if not shown and scope["method"] in {"GET", "HEAD"} and scope["path"] == "/":
            return None  # anybody may know whether the agent is well
        address = scope["client"][0] if scope.get("client") else "unknown"
        try:
            self._attempts.begin(address, shown)
            caller = await self._proven(headers)
        except NoKeys as problem:
            self._attempts.undecided(address)
            self._tell(address, scope, problem)
            raise KeysOutOfReach("try again in a moment") from problem
        except NotProven as problem:
            self._attempts.failed(shown)
            self._tell(address, scope, problem)
            raise Unauthorized({one.challenge: one.advice for one in self._credentials}) from problem
        except TooManyAttempts as problem:
            self._tell(address, scope, problem)
            raise
        self._attempts.held(address, shown)
        return caller

    async def _proven(self, headers: Headers) -> Caller:
        """Who one of the ways shows it to be. What one cannot tell, another may."""
        why: list[str] = []
        unknown: NoKeys | None = None
        for credential in self._credentials:
            if credential.presented(headers):
                try:
                    return await credential.check(headers)
                except NotProven as problem:
                    why.append(str(problem))
                except NoKeys as problem:
                    unknown = problem
        if unknown:
            raise unknown
        raise NotProven("; ".join(why) or "no credentials of a kind that MAYFLY_AUTH names")

    def _tell(self, address: str, scope: Scope, problem: Exception) -> None:
        """In the log. What the caller wrote is shown quoted, and not at any length."""
        if (refusals := self._attempts.to_tell(address)) is None:
            return
        more = f" (and {refusals - 1} more from there, not told before)" if refusals > 1 else ""
        log.warning("refused %s: %s %r: %s%s", address, scope["method"], scope["path"][:200], problem, more)


def _epoch(value: str) -> int:
    if re.fullmatch("[0-9]{1,18}", value):  # up to fence.EPOCH_MAX
        return int(value)
    raise BadRequest(f"{EPOCH_HEADER} must be a whole number")
