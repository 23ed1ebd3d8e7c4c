"""How requests to a cloud are tried, settled and seen through to their end. What carries them is the caller's.

Production carries them by Google's library on threads (`google_calls`), the simulation over its own virtual network.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from orchestrator.errors import NotFound, Transient
from orchestrator.google_errors import Complaint, Refused, Subject, translate
from orchestrator.patience import patiently, uninterrupted
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.spans import written

T = TypeVar("T")

_HELD = timedelta(seconds=0.5)  # a wait that comes back sooner held nothing: Google was too busy


@dataclass(frozen=True)
class Operation:
    """What Google says of something that it was asked to do. `complaint` is what it ended with, if it ended badly."""

    name: str
    done: bool
    complaint: Complaint | None = None


Send = Callable[[str], Awaitable[Operation]]  # one request, with this requestId; raises `orchestrator.errors`
Again = Callable[[], Awaitable[None]]  # raises if it is not to be tried again
Wait = Callable[[str, Subject], Awaitable[Operation]]  # one long poll for the operation of that name; likewise


class SeeingThrough:
    """Tries again what may be tried again.

    A read is abandoned when its caller is cancelled. A request that changes something is seen through first, and not
    tried again: only then does the cancellation show. Of a stop the watching alone is abandoned.
    """

    def __init__(self, policy: Policy, clock: Clock, wait: Wait) -> None:
        self._policy, self._clock, self._wait_once = policy, clock, wait

    async def read(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to a request that changes nothing."""
        return await patiently(ask, self._policy.cloud_calls, self._clock)

    async def change(self, send: Send, subject: Subject, again: Again | None = None) -> None:
        """Send a request that changes something, and see its operation through. `again` comes before a further try."""

        async def attempt(request_id: str) -> None:
            await self._see_through(await send(request_id), subject, self._policy.start)

        await self._as_one(lambda request_id: uninterrupted(attempt(request_id)), again)

    async def stop(self, send: Send, subject: Subject, again: Again | None = None) -> None:
        """The same for a stop."""

        async def attempt(request_id: str) -> None:
            operation = await uninterrupted(send(request_id))
            await self._see_through(operation, subject, self._policy.stop)

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

        await patiently(once, self._policy.cloud_calls, self._clock)

    async def _see_through(self, operation: Operation, subject: Subject, within: timedelta) -> None:
        """Until it is DONE; raises what it ended with."""
        began = self._clock.monotonic()
        while not operation.done:
            asked = self._clock.monotonic()
            if asked - began > within.total_seconds():
                raise Transient(
                    f"Cannot {subject.doing}: Google has not finished {operation.name} within {written(within)}."
                )
            operation = await self._wait(operation.name, subject)
            if self._clock.monotonic() - asked < _HELD.total_seconds() and not operation.done:
                await self._clock.sleep(self._policy.off_poll)
        if operation.complaint is not None:
            raise translate(operation.complaint, subject)

    async def _wait(self, name: str, subject: Subject) -> Operation:
        """One long poll of up to two minutes; comes back early now and then."""
        waiting = Subject(f"wait for Google to {subject.doing}", f"{name} is gone.")
        try:
            return await patiently(lambda: self._wait_once(name, waiting), self._policy.cloud_calls, self._clock)
        except NotFound as lost:
            raise Refused(f"Cannot {subject.doing}: Google no longer knows {name}.") from lost
