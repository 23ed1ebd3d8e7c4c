"""One orchestrator's way to the world: every request is a boundary, and may meet a fault there."""

import asyncio
import json
from fnmatch import fnmatchcase
from typing import Protocol

from gcp_emulator.wire import Reply, Request
from tests.simulation.loop import Process
from tests.simulation.schedule import Kind
from tests.simulation.universe import Universe

LATE_SECONDS = 29.0  # on the way: just inside the longest life of a request
PAUSE_SECONDS = 240.0  # a lease lives 180, and another L of 30 passes before anybody takes it over

DOOMS = {  # verb -> how an operation of that kind ends badly
    "start": ("ZONE_RESOURCE_POOL_EXHAUSTED", "The zone does not have enough resources available."),
    "insert": ("ZONE_RESOURCE_POOL_EXHAUSTED", "The zone does not have enough resources available."),
    "*": ("INTERNAL_ERROR", "Internal error."),
}
NEVER = asyncio.Event  # awaited and never set: only a time-out or the end of the process gets past it


class Attempt(Protocol):
    """The orchestrator that sends."""

    process: Process
    frozen_since_look: bool  # it was paused after it had seen the VM last

    def sigterm(self) -> None:
        """Ask it to leave."""

    def killed(self) -> None:
        """It is dead: the platform sees it."""


class Sender:
    """Lets requests of one orchestrator through, or not."""

    def __init__(self, universe: Universe, attempt: Attempt) -> None:
        self.universe, self.attempt = universe, attempt

    async def send(self, request: Request) -> Reply:
        """One request to the cloud, and its answer; silence is for ever."""
        met = await self.border(f"{request.method} {_what(request)}")
        arrived, unheard = LATE_SECONDS if met is Kind.LATE else self.universe.one_way(), met is Kind.REPLY_LOST
        if met is Kind.LOST:
            await NEVER().wait()
        if met is Kind.UNAVAILABLE:
            await asyncio.sleep(2 * self.universe.one_way())
            return _unavailable()
        if met is Kind.OPERATION_ERROR and request.method != "GET" and not request.path.endswith("/wait"):
            self._doom(request)
        return await self._exchange(request, arrived, unheard=unheard or met is Kind.LATE, then_die=met)

    async def border(self, label: str) -> Kind | None:
        """Cross the border with this; what is left to be done is the fault that it meets."""
        met = self.universe.boundary(f"{self.attempt.process.name}: {label}")
        match met:
            case Kind.CRASH_BEFORE:
                self.attempt.killed()
                await asyncio.sleep(0)  # and never comes back
            case Kind.PAUSE:
                self.attempt.process.pause(PAUSE_SECONDS)
                self.attempt.frozen_since_look = True
                await asyncio.sleep(0)  # and comes back late
            case Kind.SIGTERM:
                self.attempt.sigterm()
        return met

    def die_once_sent(self, met: Kind | None) -> None:
        """A crash after: the request is on its way, and nothing takes it back."""
        if met is Kind.CRASH_AFTER:
            self.attempt.killed()

    async def _exchange(self, request: Request, arrived: float, *, unheard: bool, then_die: Kind | None) -> Reply:
        """Over the network, which does not care who still lives."""
        loop, answered = self.universe.loop, asyncio.get_running_loop().create_future()

        frozen = self.attempt.frozen_since_look

        def land() -> None:
            if (verb := _power(request)) is not None:
                for listener in self.universe.on_power:
                    listener(self.attempt, verb, frozen)
            self.universe.ask(request, hear)

        def hear(reply: Reply) -> None:
            if request.method == "GET" and "/instances/" in request.path and not self.attempt.process.paused:
                self.attempt.frozen_since_look = False
            if not unheard:
                loop.outside(loop.time() + self.universe.one_way(), arrive, reply)

        def arrive(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        loop.outside(loop.time() + arrived, land)
        self.die_once_sent(then_die)
        reply: Reply = await answered
        return reply

    def _doom(self, request: Request) -> None:
        if "/storage/" in request.path:
            return  # no operation comes of it, that could end badly
        verb = _verb(request)
        code, message = next(doom for pattern, doom in DOOMS.items() if fnmatchcase(verb, pattern))
        self.universe.doom_next(f"instances.{verb}", code, message)


def _verb(request: Request) -> str:
    """As the API's methods are called: start, insert, delete."""
    if request.method == "DELETE":
        return "delete"
    last = request.path.rpartition("/")[2]
    return "insert" if last == "instances" else last


def _power(request: Request) -> str | None:
    """Whether a VM is to come on by it ("start") or to go off ("stop")."""
    if request.method == "GET":
        return None
    return {"start": "start", "insert": "start", "stop": "stop", "delete": "stop"}.get(_verb(request))


def _what(request: Request) -> str:
    return request.path.split("/", 6)[-1]


def _unavailable() -> Reply:
    said = {"error": {"code": 503, "message": "Try again.", "errors": [{"reason": "backendError"}]}}
    return Reply(503, json.dumps(said).encode(), {"content-type": "application/json"})
