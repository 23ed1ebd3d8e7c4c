"""One call to Compute Engine by Google's library: on its thread, and in our words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.google_clients import GoogleClients
from orchestrator.google_errors import Complaint, Subject, code_of, speaking_our_errors
from orchestrator.google_library import compute
from orchestrator.google_settling import Again, Operation, SeeingThrough
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.threads import Threads

T = TypeVar("T")
Send = Callable[[str, float], compute.Operation]  # (requestId, timeout in seconds)

_THREADS = 8  # a look, a move, a lease renewal, a report, and waits that were abandoned


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
    """Sends requests. The adaptors say what to send, this says by what, `SeeingThrough` how often and how long."""

    def __init__(
        self, place: Place, policy: Policy, clock: Clock, clients: GoogleClients, threads: int = _THREADS
    ) -> None:
        self.place, self.policy, self.clock, self.clients = place, policy, clock, clients
        self._threads = Threads(threads, "google")
        self._stop_thread = Threads(1, "google-stop")
        self._tried = SeeingThrough(policy, clock, self._wait)
        self._tried_in_region = SeeingThrough(policy, clock, self._wait_in_region)

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

        return await self._tried.read(lambda: self._threads.call(work))

    async def change(self, send: Send, subject: Subject, again: Again | None = None) -> None:
        """Send a request that changes something, and see its operation through. `again` comes before a further try."""
        await self._tried.change(lambda rid: self._send(send, rid, subject, self._threads), subject, again)

    async def change_in_region(self, send: Send, subject: Subject) -> None:
        """The same for what is regional."""
        await self._tried_in_region.change(lambda rid: self._send(send, rid, subject, self._threads), subject)

    async def stop(self, send: Send, subject: Subject, again: Again | None = None) -> None:
        """The same for a stop, on the thread that nothing else waits for."""
        await self._tried.stop(lambda rid: self._send(send, rid, subject, self._stop_thread), subject, again)

    async def _send(self, send: Send, request_id: str, subject: Subject, threads: Threads) -> Operation:
        def work() -> Operation:
            with speaking_our_errors(subject):
                return _seen(send(request_id, self.policy.request.total_seconds()))

        return await threads.call(work)

    async def _wait(self, name: str, subject: Subject) -> Operation:
        place = self.place
        request = compute.WaitZoneOperationRequest(project=place.project, zone=place.zone, operation=name)
        return await self._waited(
            lambda timeout: self.clients.operations.wait(request, retry=None, timeout=timeout), subject
        )

    async def _wait_in_region(self, name: str, subject: Subject) -> Operation:
        place = self.place
        request = compute.WaitRegionOperationRequest(project=place.project, region=place.region, operation=name)
        return await self._waited(
            lambda timeout: self.clients.regional().wait(request, retry=None, timeout=timeout), subject
        )

    async def _waited(self, wait: Callable[[float], compute.Operation], subject: Subject) -> Operation:
        def work() -> Operation:
            with speaking_our_errors(subject):
                return _seen(wait(self.policy.wait_request.total_seconds()))

        return await self._threads.call(work)


def _seen(operation: compute.Operation) -> Operation:
    """An operation's errors come with or without an HTTP status; the library overlooks those without one."""
    errors = operation.error.errors
    complaint = Complaint(
        message=" ".join(dict.fromkeys(error.message or error.code for error in errors)),
        codes=frozenset(code_of(error.code) for error in errors),
        status=operation.http_error_status_code or None,
        in_operation=True,
    )
    done = operation.status == compute.Operation.Status.DONE
    return Operation(operation.name, done, complaint if errors else None)
