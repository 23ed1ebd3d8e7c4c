"""One call to Compute Engine: on its thread, in our words, tried again; and an operation seen through to its end."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from orchestrator.errors import NotFound, Transient
from orchestrator.google_clients import GoogleClients
from orchestrator.google_errors import Complaint, Refused, Subject, code_of, speaking_our_errors, translate
from orchestrator.google_library import compute
from orchestrator.patience import patiently, uninterrupted
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.spans import written
from orchestrator.threads import Threads

T = TypeVar("T")
Send = Callable[[str, float], compute.Operation]  # (requestId, timeout in seconds)
Again = Callable[[], Awaitable[None]]  # raises if it is not to be tried again

_THREADS = 8  # a look, a move, a lease renewal, a report, and waits that were abandoned
_HELD = timedelta(seconds=0.5)  # a wait that comes back sooner held nothing: Google was too busy


@dataclass(frozen=True)
class Place:
    """Where our resources are."""

    project: str
    region: str
    zone: str

    def vm(self, name: str, doing: str) -> Subject:
        """One of its VMs, as the subject of errors."""
        where = f"in zone {self.zone} of project {self.project}"
        return Subject(
            doing=f"{doing} the VM {name} {where}",
            missing=f"There is no VM {name} {where}: check INSTANCE, ZONE and PROJECT_ID.",
        )


class GoogleCalls:
    """Sends requests. The adaptors say what to send, this says how.

    A read is abandoned when its caller is cancelled. A request that changes something is seen through first, and not
    tried again: only then does the cancellation show. Of a stop the watching alone is abandoned.
    """

    def __init__(
        self, place: Place, policy: Policy, clock: Clock, clients: GoogleClients, threads: int = _THREADS
    ) -> None:
        self.place, self.policy, self.clock, self.clients = place, policy, clock, clients
        self._threads = Threads(threads, "google")
        self._stop_thread = Threads(1, "google-stop")

    def close(self) -> None:
        """Let idle threads and connections go. Nobody is waited for."""
        self._threads.close()
        self._stop_thread.close()
        self.clients.close()

    async def read(self, ask: Callable[[float], T], subject: Subject) -> T:
        """The answer to a request that changes nothing. `ask` gets the timeout in seconds."""

        def work() -> T:
            with speaking_our_errors(subject):
                return ask(self.policy.request.total_seconds())

        return await patiently(lambda: self._threads.call(work), self.policy.cloud_calls, self.clock)

    async def change(self, send: Send, subject: Subject, again: Again | None = None) -> None:
        """Send a request that changes something, and see its operation through. `again` comes before a further try."""

        async def attempt(request_id: str) -> None:
            operation = await self._send(send, request_id, subject, self._threads)
            await self._see_through(operation, subject, self.policy.start)

        await self._as_one(lambda request_id: uninterrupted(attempt(request_id)), again)

    async def stop(self, send: Send, subject: Subject, again: Again | None = None) -> None:
        """The same for a stop, on the thread that nothing else waits for."""

        async def attempt(request_id: str) -> None:
            operation = await uninterrupted(self._send(send, request_id, subject, self._stop_thread))
            await self._see_through(operation, subject, self.policy.stop)

        await self._as_one(attempt, again)

    async def _as_one(self, attempt: Callable[[str], Awaitable[None]], again: Again | None) -> None:
        """Tries of one attempt share its requestId, so a try whose reply was lost is not done twice.

        Once Google has said no, the same id would only be told no again.
        """
        request_id, tried = str(uuid4()), False

        async def once() -> None:
            nonlocal request_id, tried
            if tried and again is not None:
                await again()
            tried = True
            try:
                await attempt(request_id)
            except Refused:
                request_id = str(uuid4())
                raise

        await patiently(once, self.policy.cloud_calls, self.clock)

    async def _send(self, send: Send, request_id: str, subject: Subject, threads: Threads) -> compute.Operation:
        def work() -> compute.Operation:
            with speaking_our_errors(subject):
                return send(request_id, self.policy.request.total_seconds())

        return await threads.call(work)

    async def _see_through(self, operation: compute.Operation, subject: Subject, within: timedelta) -> None:
        """Until it is DONE; raises what it ended with."""
        began = self.clock.monotonic()
        while not _done(operation):
            asked = self.clock.monotonic()
            if asked - began > within.total_seconds():
                raise Transient(
                    f"Cannot {subject.doing}: Google has not finished {operation.name} within {written(within)}."
                )
            operation = await self._wait(operation.name, subject)
            if self.clock.monotonic() - asked < _HELD.total_seconds() and not _done(operation):
                await self.clock.sleep(self.policy.off_poll)
        if operation.error.errors:
            raise translate(_complaint(operation), subject)

    async def _wait(self, name: str, subject: Subject) -> compute.Operation:
        """One long poll of up to two minutes; comes back early now and then."""
        request = compute.WaitZoneOperationRequest(project=self.place.project, zone=self.place.zone, operation=name)

        def work() -> compute.Operation:
            with speaking_our_errors(Subject(f"wait for Google to {subject.doing}", f"{name} is gone.")):
                timeout = self.policy.wait_request.total_seconds()
                return self.clients.operations.wait(request, retry=None, timeout=timeout)

        try:
            return await patiently(lambda: self._threads.call(work), self.policy.cloud_calls, self.clock)
        except NotFound as lost:
            raise Refused(f"Cannot {subject.doing}: Google no longer knows {name}.") from lost


def _done(operation: compute.Operation) -> bool:
    return operation.status == compute.Operation.Status.DONE


def _complaint(operation: compute.Operation) -> Complaint:
    """An operation's errors come with or without an HTTP status; the library overlooks those without one."""
    errors = operation.error.errors
    return Complaint(
        message=" ".join(dict.fromkeys(error.message or error.code for error in errors)),
        codes=frozenset(code_of(error.code) for error in errors),
        status=operation.http_error_status_code or None,
        in_operation=True,
    )
