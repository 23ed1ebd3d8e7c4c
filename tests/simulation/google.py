"""Google's own client library, in virtual time: its requests go to the model instead of a socket.

The library is synchronous, so each call happens in three steps: our adaptors' code runs until it calls the library,
and is left there; the network carries the call, and at its arrival the library sends it to the model; then our code
runs again, and the library's answer, or what it raises, is already there.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import requests

from gcp_emulator.wire import Held, Reply, Request
from orchestrator.google_clients import GoogleClients, GoogleTime, open_clients
from tests.simulation.cloud_door import CloudDoor, post
from tests.simulation.faults import Kind
from tests.simulation.loop import current
from tests.simulation.network import Fate, Network, Reset, TimedOut

T = TypeVar("T")

_ORIGIN = "http://compute.simulated"
_CHANGES = ("start", "stop", "set", "add", "delete", "insert")


class _Left(BaseException):
    """Our code has called the library, and is left there. Not an Exception: nobody on the way may catch it."""

    def __init__(self, call: "_Call") -> None:
        self.call = call


class _HeldBack(BaseException):
    """The model holds the request."""

    def __init__(self, until: datetime) -> None:
        self.until = until


class _Call:
    """One call of a method of one client."""

    def __init__(self, name: str, send: Callable[[], Any], timeout: float, request_id: str | None) -> None:
        self.name, self.send, self.timeout, self.request_id = name, send, timeout, request_id
        self.first_asked: datetime | None = None


class Wire:
    """Where the library has its HTTP session. It speaks `requests`, which the library makes its errors from."""

    def __init__(self) -> None:
        self.door: CloudDoor | None = None
        self.first_asked: datetime | None = None

    def get(self, url: str, **options: Any) -> requests.Response:
        return self._sent("GET", url, **options)

    def post(self, url: str, **options: Any) -> requests.Response:
        return self._sent("POST", url, **options)

    def delete(self, url: str, **options: Any) -> requests.Response:
        return self._sent("DELETE", url, **options)

    def _sent(self, method: str, url: str, *, params: Any, data: str | None = None, **_: Any) -> requests.Response:
        assert self.door is not None, "the library sends a request that the network did not carry"
        query = {name: _text(value) for name, value in params}
        headers = {"content-type": "application/json"}
        asked = Request(method, unquote(urlsplit(url).path), query, headers, (data or "").encode())
        reply = self.door.ask(asked, self.first_asked)
        if isinstance(reply, Held):
            raise _HeldBack(reply.until)
        return _response(requests.Request(method, url), reply)

    def close(self) -> None:
        """Nothing is open."""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _response(request: requests.Request, reply: Reply) -> requests.Response:
    response = requests.Response()
    response.status_code, response._content, response.url = reply.status, reply.body, request.url
    response.headers.update(reply.headers)
    response.request = request  # type: ignore[assignment] - of it the library reads method and URL
    return response


class _Client:
    """Stands before one of Google's clients, and leaves our code at the door the first time."""

    def __init__(self, real: Any, google: "SimulatedGoogle", name: str) -> None:
        self._real, self._google, self._name = real, google, name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        real = getattr(self._real, method)

        def call(request: Any, *, timeout: float, **options: Any) -> Any:
            if (ready := self._google.ready) is not None:
                return ready()
            send = lambda: real(request, timeout=timeout, **options)  # noqa: E731
            name = f"{self._name}.{method.removesuffix('_unary')}"
            raise _Left(_Call(name, send, timeout, getattr(request, "request_id", None)))

        return call


class _Time(GoogleTime):
    """The date of the answer that our code is given now."""

    def __init__(self, google: "SimulatedGoogle") -> None:
        super().__init__()
        self._google = google

    def date(self) -> datetime | None:
        return self._google.date


class SimulatedGoogle:
    """The clients of one orchestrator, and the pool of threads that there is no need for (port `Workers`)."""

    def __init__(
        self, library: "Library", door: CloudDoor, network: Network, heard: Callable[[str, str, str | None], None]
    ) -> None:
        self.ready: Callable[[], Any] | None = None
        self.date: datetime | None = None
        self._library, self._door, self._network, self._told = library, door, network, heard
        real = library.clients
        self.clients = GoogleClients(
            **{name: _Client(getattr(real, name), self, name) for name in vars(real) if name not in NO_CLIENTS},
            time=_Time(self),
            credentials=real.credentials,
        )

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` gives, once its call of Google's library has been there and back."""
        self.ready = None
        try:
            return work()  # it called nothing
        except _Left as left:
            call = left.call
        process = current().name
        self._told(process, call.name, call.request_id)
        fate = await self._network.depart(call.name)
        try:
            answer, date = await self._network.carry(fate, call.timeout, lambda heard: self._arrive(call, fate, heard))
        except TimedOut as silence:
            return self._finish(work, _raising(requests.exceptions.ReadTimeout(str(silence))), None)
        except Reset as broken:
            return self._finish(work, _raising(requests.exceptions.ConnectionError(str(broken))), None)
        self._told(process, f"{call.name} answered", None)
        return self._finish(work, answer, date)

    def close(self) -> None:
        """There is nothing to let go."""

    def _finish(self, work: Callable[[], T], answer: Callable[[], Any], date: datetime | None) -> T:
        self.ready, self.date = answer, date
        try:
            return work()
        finally:
            self.ready = None

    def _arrive(self, call: _Call, fate: Fate, heard: "asyncio.Future[Any]") -> None:
        wire = self._library.wire
        wire.door, wire.first_asked = self._door, call.first_asked
        call.first_asked = call.first_asked or self._door.now()
        self._plant(fate)
        try:
            result = call.send()
        except _HeldBack as held:
            self._door.when_changed(held.until, lambda: heard.cancelled() or self._arrive(call, NO_FATE, heard))
        except Exception as refused:  # noqa: BLE001 - our own code gets it, as from the library
            heard.set_result((_raising(refused), self._door.now().replace(microsecond=0)))
        else:
            heard.set_result((lambda: result, self._door.now().replace(microsecond=0)))
        finally:
            wire.door = None

    def _plant(self, fate: Fate) -> None:
        if fate.has(Kind.UNAVAILABLE):
            self._fault({"reply": {"status": 503, "reason": "backendError", "message": "Try again."}})
        if fate.has(Kind.OPERATION_ERROR):
            self._fault({"operation_error": {"code": "INTERNAL_ERROR", "message": "It broke."}})

    def _fault(self, what: dict[str, Any]) -> None:
        self._door.ask(post("/_emulator/faults", json.dumps({"on": "*", "times": 1, **what}).encode()))


NO_FATE = Fate(-1)
NO_CLIENTS = ("time", "credentials")


def changes_something(call: str) -> bool:
    """Whether that request begins an operation."""
    return call.partition(".")[2].startswith(_CHANGES)


def _raising(error: Exception) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


class Library:
    """Google's real clients: made once, for they take long to make, and used by one schedule after the other."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.clients = open_clients(_ORIGIN)
        for name in vars(self.clients):
            client = getattr(self.clients, name)
            if name not in NO_CLIENTS:
                session = client.transport._session
                session.get, session.post, session.delete = self.wire.get, self.wire.post, self.wire.delete
