"""How a request that changes something is tried, settled and seen through."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from orchestrator.errors import BadResource, LeaseLost, NotFound, Stockout, Transient
from orchestrator.google_errors import Complaint, Refused, Subject
from orchestrator.google_settling import Operation, SeeingThrough
from orchestrator.policy import Policy
from tests.clocks import JumpingClock

POLICY = Policy()
STARTING = Subject("start the VM gpu-vm", "There is no VM gpu-vm.")
STOCKOUT = Complaint("No machine is free.", frozenset({"ZONE_RESOURCE_POOL_EXHAUSTED"}), in_operation=True)


@dataclass
class Google:
    """What it answers, in order: an operation that is DONE or not, or an error. The last one for ever."""

    to_requests: list[bool | Exception] = field(default_factory=lambda: [True])
    to_waits: list[bool | Exception] = field(default_factory=lambda: [True])
    ends_with: Complaint | None = None
    wait_seconds: float = 120.0
    clock: JumpingClock = field(default_factory=JumpingClock)
    request_ids: list[str] = field(default_factory=list)
    waited_for: list[tuple[str, str]] = field(default_factory=list)
    looks: int = 0

    @property
    def seeing_through(self) -> SeeingThrough:
        return SeeingThrough(POLICY, self.clock, self.wait)

    async def send(self, request_id: str) -> Operation:
        self.request_ids.append(request_id)
        return self._said(self.to_requests, f"operation-{len(self.request_ids)}")

    async def wait(self, name: str, subject: Subject) -> Operation:
        self.waited_for.append((name, subject.doing))
        await self.clock.sleep(timedelta(seconds=self.wait_seconds))
        return self._said(self.to_waits, name)

    async def again(self) -> None:
        self.looks += 1

    def _said(self, answers: list[bool | Exception], name: str) -> Operation:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Operation(name, answer, self.ends_with if answer else None)


Verb = Callable[[Google, Callable[[], Awaitable[None]] | None], Awaitable[None]]


async def change(google: Google, again: Callable[[], Awaitable[None]] | None = None) -> None:
    await google.seeing_through.change(google.send, STARTING, again)


async def stop(google: Google, again: Callable[[], Awaitable[None]] | None = None) -> None:
    await google.seeing_through.stop(google.send, STARTING, again)


both = pytest.mark.parametrize("verb", [change, stop])


@both
async def test_an_operation_is_waited_for_until_it_is_done(verb: Verb):
    google = Google([False], [False, False, True])
    await verb(google, google.again)
    assert google.waited_for == [("operation-1", "wait for Google to start the VM gpu-vm")] * 3
    assert (len(google.request_ids), google.looks) == (1, 0)
    assert google.clock.pauses == [120.0] * 3, "a long poll is followed by the next at once"


@both
async def test_what_is_done_at_once_is_not_waited_for(verb: Verb):
    google = Google()
    await verb(google, None)
    assert (len(google.request_ids), google.waited_for, google.clock.pauses) == (1, [], [])


@both
async def test_a_try_whose_reply_was_lost_is_made_again_with_the_same_id_after_another_look(verb: Verb):
    google = Google([Transient("timed out"), Transient("timed out"), True])
    await verb(google, google.again)
    assert (len(google.request_ids), len(set(google.request_ids)), google.looks) == (3, 1, 2)


@both
async def test_what_the_look_shows_ends_the_tries(verb: Verb):
    async def lost() -> None:
        raise LeaseLost("taken")

    google = Google([Transient("timed out")])
    with pytest.raises(LeaseLost):
        await verb(google, lost)
    assert len(google.request_ids) == 1


@both
async def test_once_google_has_said_no_the_next_try_is_a_new_request(verb: Verb):
    """It would answer the same id with the same no."""
    google = Google([Refused("not now"), True])
    await verb(google, google.again)
    assert (len(google.request_ids), len(set(google.request_ids)), google.looks) == (2, 2, 1)
    assert [len(request_id) for request_id in google.request_ids] == [36, 36], "both are UUIDs"


@both
async def test_each_request_has_an_id_of_its_own(verb: Verb):
    google = Google()
    await verb(google, None)
    await verb(google, None)
    assert len(set(google.request_ids)) == 2
    assert all(len(request_id) == 36 for request_id in google.request_ids)


@both
async def test_an_operation_that_ends_badly_is_an_error_though_the_request_was_accepted(verb: Verb):
    google = Google([False], [True], ends_with=STOCKOUT)
    with pytest.raises(Stockout, match="start the VM gpu-vm"):
        await verb(google, None)
    assert len(google.request_ids) == 1, "a stockout is final"


@both
async def test_an_operation_that_was_done_badly_at_once_is_one_too(verb: Verb):
    with pytest.raises(Stockout):
        await verb(Google(ends_with=STOCKOUT), None)


@both
async def test_what_is_wrong_for_good_is_not_tried_again(verb: Verb):
    google = Google([BadResource("no")])
    with pytest.raises(BadResource):
        await verb(google, google.again)
    assert (len(google.request_ids), google.looks) == (1, 0)


@pytest.mark.parametrize(("verb", "within"), [(change, POLICY.start), (stop, POLICY.stop)])
async def test_an_operation_that_never_ends_is_given_up_after_its_time(verb: Verb, within: timedelta):
    google = Google([False], [False], wait_seconds=60.0)
    with pytest.raises(Transient, match="Cannot start the VM gpu-vm: Google has not finished operation-1 within"):
        await verb(google, None)
    assert len(google.waited_for) == within.total_seconds() // 60 + 1


async def test_the_time_of_an_operation_counts_from_its_request():
    google = Google([False], [False], wait_seconds=60.0)
    await google.clock.sleep(timedelta(hours=1))
    with pytest.raises(Transient):
        await change(google)
    assert len(google.waited_for) == POLICY.start.total_seconds() // 60 + 1


@pytest.mark.parametrize(("held", "pauses"), [(0.4, [0.4, 1.0, 0.4]), (0.5, [0.5, 0.5])])
async def test_a_wait_that_held_nothing_is_not_begun_anew_at_once(held: float, pauses: list[float]):
    google = Google([False], [False, True], wait_seconds=held)
    google.clock.pauses = [3600.0]
    await change(google)
    assert google.clock.pauses[1:] == pauses


async def test_a_wait_whose_answer_is_lost_is_repeated_and_the_request_is_not():
    google = Google([False], [Transient("timed out"), True], wait_seconds=1.0)
    await change(google)
    assert (len(google.request_ids), len(google.waited_for)) == (1, 2)


async def test_an_operation_that_google_forgot_is_a_no_and_asked_for_anew():
    google = Google([False], [NotFound("gone"), True], wait_seconds=1.0)
    await change(google, google.again)
    assert (len(set(google.request_ids)), google.looks) == (2, 1)
    assert [name for name, _ in google.waited_for] == ["operation-1", "operation-2"]


async def test_who_forgets_for_ever_is_told_so():
    google = Google([False], [NotFound("gone")], wait_seconds=1.0)
    with pytest.raises(Refused, match="Cannot start the VM gpu-vm: Google no longer knows operation-"):
        await change(google)
    assert len(google.request_ids) <= POLICY.cloud_calls.tries


async def test_a_read_is_tried_again_while_it_may_succeed():
    answers: list[Exception | str] = [Transient("timed out"), "there"]
    google = Google()

    async def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await google.seeing_through.read(ask) == "there"
    assert len(google.clock.pauses) == 1


async def test_a_read_is_tried_eight_times_at_most():
    tries = 0

    async def ask() -> str:
        nonlocal tries
        tries += 1
        raise Transient("timed out")

    with pytest.raises(Transient):
        await Google().seeing_through.read(ask)
    assert 2 < tries <= POLICY.cloud_calls.tries


class Slow(Google):
    """Its answers come when they are let go."""

    def __init__(self) -> None:
        super().__init__([False], [True])
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()
        self.waiting, self.let_end = asyncio.Event(), asyncio.Event()

    async def send(self, request_id: str) -> Operation:
        self.asked.set()
        await self.let_go.wait()
        return await super().send(request_id)

    async def wait(self, name: str, subject: Subject) -> Operation:
        self.waiting.set()
        await self.let_end.wait()
        return await super().wait(name, subject)


@both
async def test_a_request_that_is_out_is_seen_answered_though_its_caller_was_cancelled(verb: Verb):
    google = Slow()
    asking = asyncio.ensure_future(verb(google, None))
    await google.asked.wait()
    asking.cancel()
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done, "a request in flight is a fact"
    google.let_go.set()
    google.let_end.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(google.request_ids) == 1


async def test_a_change_is_seen_through_to_its_end_though_its_caller_was_cancelled():
    google = Slow()
    google.let_go.set()
    asking = asyncio.ensure_future(change(google))
    await google.waiting.wait()
    asking.cancel()
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done
    google.let_end.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(google.waited_for) == 1


async def test_the_watching_of_a_stop_is_abandoned_at_once():
    google = Slow()
    google.let_go.set()
    asking = asyncio.ensure_future(stop(google))
    await google.waiting.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, 1)
    assert google.waited_for == []


async def test_a_cancelled_change_is_not_tried_again():
    google = Slow()
    google.to_requests = [Transient("timed out")]
    asking = asyncio.ensure_future(change(google, google.again))
    await google.asked.wait()
    asking.cancel()
    google.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (len(google.request_ids), google.looks) == (1, 0)
