"""The agent over HTTP (ports `Agent` and `Output`)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from orchestrator.agent_auth import Showing
from orchestrator.agent_errors import refusal
from orchestrator.agent_line import AgentLine, Answer
from orchestrator.agent_proof import Proof
from orchestrator.errors import AgentFault, AgentRefused, AgentSilent, Busy, Transient
from orchestrator.patience import patiently, uninterrupted
from orchestrator.policy import Policy
from orchestrator.ports import Clock, Credential
from vm_agent.protocol import (
    EPOCH_HEADER,
    KEY_HEADER,
    LOG_COMPLETE_HEADER,
    LOG_NEXT_HEADER,
    START_MEDIA_TYPE,
    WAIT_SECONDS_MAX,
    Artifact,
    ArtifactList,
    Greeting,
    Mode,
    RunList,
    RunView,
    StartRequest,
)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class AgentClient:
    """One agent, at one address ("http://IP:8000"). Silence beyond `policy.agent_calls` is AgentSilent."""

    def __init__(
        self,
        base_url: str,
        credential: Credential,
        policy: Policy,
        clock: Clock,
        *,
        proof: Proof | None = None,  # None: whoever answers, in plain HTTP
        transport: httpx.AsyncBaseTransport | None = None,  # None: TCP
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._line = AgentLine(base_url, Showing(credential), policy, proof, transport)
        self._greeting = asyncio.Lock()  # two that prove different things at once would contradict each other

    async def aclose(self) -> None:
        """Close the connections."""
        await self._line.aclose()

    async def greet(self, epoch: int | None) -> Greeting | None:
        """One short try. What is not our agent's word (a refused connection, some other server) is nobody."""
        headers = {} if epoch is None else {EPOCH_HEADER: str(epoch)}
        async with self._greeting:
            try:
                answer = await self._line.greet(headers)
            except Transient:
                return None
            if answer.status in {200, 503}:
                greeting = _parsed(Greeting, answer.body)
                if greeting is not None:
                    await self._line.check(greeting)
                return greeting
        no = refusal(answer.status, answer.body, "greet us")
        if isinstance(no, Transient):
            return None
        raise no

    async def find(self, key: str, mode: Mode) -> RunView | None:
        """Ask its ledger. The last attempt counts: there is another only after one that was cut off."""
        found = await self._get(RunList, "/runs", "look up the run", params={"key": key})
        attempts = [run for run in found.runs if (run.key, run.mode) == (key, mode)]
        return max(attempts, key=lambda run: run.attempt, default=None)

    async def runs(self) -> list[RunView]:
        """The last that its ledger knows, newest first."""
        return (await self._get(RunList, "/runs", "list its runs")).runs

    async def start(self, key: str, epoch: int, mode: Mode, order: StartRequest) -> RunView:
        """The key makes it safe to ask again: the agent answers with the run that it accepted before."""
        headers = {KEY_HEADER: key, EPOCH_HEADER: str(epoch), "Content-Type": START_MEDIA_TYPE}
        body = order.model_dump_json().encode()
        unanswered = False

        async def once() -> RunView:
            nonlocal unanswered
            try:
                answer = await uninterrupted(self._line.send("POST", f"/{mode.value}", headers=headers, content=body))
            except Transient:
                unanswered = True
                raise
            return _accepted(RunView, answer, "start the run")

        try:
            return await self._patiently(once)
        except (AgentRefused, Busy) as no:
            if unanswered:
                raise AgentSilent(f"The agent did not answer whether it accepted the run. Asked again: {no}") from no
            raise

    async def cancel(self, run: RunView, epoch: int) -> RunView:
        """Begin to end it, in the name of the lease of that epoch. Fine if it has ended. Busy: a later one counts."""
        headers = {EPOCH_HEADER: str(epoch)}

        async def once() -> RunView:
            answer = await self._line.send("POST", f"/runs/{quote(run.id)}/cancel", headers=headers)
            return _accepted(RunView, answer, "cancel the run")

        return await self._patiently(once)

    async def follow(self, run: RunView) -> RunView:
        """A long poll; a connection that breaks is made anew."""
        if run.state.finished:
            return run  # nothing can change any more
        wait = self._longest_wait()
        params = {"wait": wait.total_seconds(), "seen": run.version}
        return await self._get(RunView, f"/runs/{quote(run.id)}", "show the run", params=params, wait=wait)

    async def read_log(self, run_id: str, offset: int) -> tuple[bytes, int, bool]:
        """A long poll by byte offset, so that nothing is lost or read twice over a broken connection."""
        wait = self._longest_wait()
        params = {"offset": offset, "wait": wait.total_seconds()}

        async def once() -> tuple[bytes, int, bool]:
            answer = await self._line.send("GET", f"/runs/{quote(run_id)}/logs", params=params, wait=wait)
            if answer.status != httpx.codes.OK:
                raise refusal(answer.status, answer.body, "show the log")
            after = int(answer.headers.get(LOG_NEXT_HEADER, offset + len(answer.body)))
            return answer.body, after, answer.headers.get(LOG_COMPLETE_HEADER) == "true"

        return await self._patiently(once)

    async def artifacts(self, run_id: str) -> list[Artifact]:
        """The files of the run."""
        return (await self._get(ArtifactList, f"/runs/{quote(run_id)}/artifacts", "list the files")).artifacts

    async def download(self, run_id: str, path: str) -> AsyncIterator[bytes]:
        """A connection that breaks on the way is made anew, from the byte where it broke.

        HTTP's own framing tells a whole file from a part of one.
        """
        url = f"/runs/{quote(run_id)}/artifacts/{quote(path)}"
        got = broken = 0
        while True:
            response = await self._patiently(partial(self._line.open, url, got))
            try:
                async for piece in response.aiter_raw():
                    got, broken = got + len(piece), 0
                    yield piece
            except httpx.TransportError as error:
                broken += 1
                if broken >= self._policy.agent_calls.tries:
                    raise AgentSilent(
                        f"The agent at {self._line.url} keeps breaking off while it sends {path}."
                    ) from error
            else:
                return
            finally:
                await response.aclose()

    def _longest_wait(self) -> timedelta:
        return min(self._policy.log_poll, timedelta(seconds=WAIT_SECONDS_MAX))

    async def _known(self) -> None:
        if await self.greet(None) is None:
            raise Transient(f"The agent at {self._line.url} does not answer.")

    async def _patiently(self, once: Callable[[], Awaitable[T]]) -> T:
        try:
            return await patiently(
                partial(self._line.to_the_proven, once, self._known), self._policy.agent_calls, self._clock
            )
        except Transient as silence:
            raise AgentSilent(str(silence)) from silence

    async def _get(
        self,
        model: type[M],
        path: str,
        what: str,
        *,
        params: Mapping[str, Any] | None = None,
        wait: timedelta = timedelta(),
    ) -> M:
        async def once() -> M:
            return _accepted(model, await self._line.send("GET", path, params=params, wait=wait), what)

        return await self._patiently(once)


def _parsed(model: type[M], body: bytes) -> M | None:
    try:
        return model.model_validate_json(body)
    except ValidationError:
        return None


def _accepted(model: type[M], answer: Answer, what: str) -> M:
    if not httpx.codes.is_success(answer.status):
        raise refusal(answer.status, answer.body, what)
    parsed = _parsed(model, answer.body)
    if parsed is None:
        raise AgentFault(f"The agent was asked to {what}, and its answer makes no sense: {answer.body[:200]!r}")
    return parsed
