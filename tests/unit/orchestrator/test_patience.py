"""Patience: what is tried again, how often, for how long; and what is not interrupted."""

import asyncio
from datetime import timedelta

import pytest

from orchestrator.errors import Forbidden, MayflyError, Transient
from orchestrator.patience import Later, patiently, uninterrupted
from orchestrator.policy import Patience
from tests.clocks import JumpingClock


def patience(**changes: float) -> Patience:
    numbers = {"tries": 5, "within": 60, "first_pause": 1, "longest_pause": 8} | changes
    spans = {name: timedelta(seconds=number) for name, number in numbers.items() if name != "tries"}
    return Patience(tries=int(numbers["tries"]), **spans)


class Flaky:
    """Fails so many times with that error, then works. Each try takes some time."""

    def __init__(self, failures: int, error: MayflyError, clock: JumpingClock, seconds: float = 0) -> None:
        self.tries = 0
        self._failures, self._error, self._clock, self._seconds = failures, error, clock, seconds

    async def attempt(self) -> str:
        self.tries += 1
        await self._clock.sleep(timedelta(seconds=self._seconds))
        if self.tries <= self._failures:
            raise self._error
        return "done"


async def test_what_is_transient_is_tried_again_with_pauses_that_grow_to_a_limit() -> None:
    clock = JumpingClock()
    flaky = Flaky(9, Transient("busy"), clock)
    assert await patiently(flaky.attempt, patience(tries=10, within=600), clock) == "done"
    pauses = [pause for pause in clock.pauses if pause]
    limits = [1, 2, 4, 8, 8, 8, 8, 8, 8]
    assert all(pause <= limit for pause, limit in zip(pauses, limits, strict=True))


async def test_what_is_not_transient_is_raised_at_once() -> None:
    clock = JumpingClock()
    flaky = Flaky(1, Forbidden("no"), clock)
    with pytest.raises(Forbidden):
        await patiently(flaky.attempt, patience(), clock)
    assert flaky.tries == 1


async def test_the_number_of_tries_is_bounded_and_the_last_error_is_raised() -> None:
    clock = JumpingClock()
    flaky = Flaky(99, Transient("busy"), clock)
    with pytest.raises(Transient, match="busy"):
        await patiently(flaky.attempt, patience(tries=3), clock)
    assert flaky.tries == 3


async def test_the_time_is_bounded_by_our_clock_and_no_pause_goes_beyond_it() -> None:
    clock = JumpingClock()
    flaky = Flaky(99, Transient("slow"), clock, seconds=25)
    with pytest.raises(Transient):
        await patiently(flaky.attempt, patience(tries=99, within=60), clock)
    assert flaky.tries == 3
    assert clock.monotonic() <= 85


async def test_what_asks_for_later_is_not_tried_before() -> None:
    clock = JumpingClock()
    flaky = Flaky(1, Later("rate limit", timedelta(seconds=40)), clock)
    assert await patiently(flaky.attempt, patience(), clock) == "done"
    assert 40 <= clock.monotonic() <= 41


async def test_what_asks_for_later_than_there_is_time_is_given_up_at_once() -> None:
    clock = JumpingClock()
    flaky = Flaky(1, Later("rate limit", timedelta(seconds=61)), clock)
    with pytest.raises(Later):
        await patiently(flaky.attempt, patience(), clock)
    assert clock.monotonic() == 0


@pytest.mark.parametrize("ends_well", [True, False])
async def test_a_cancelled_request_is_waited_for_and_the_cancellation_then_shows(ends_well: bool) -> None:
    may_end = asyncio.Event()
    ended: list[bool] = []

    async def request() -> str:
        await may_end.wait()
        ended.append(True)
        if not ends_well:
            raise Transient("lost")
        return "accepted"

    task = asyncio.create_task(uninterrupted(request()))
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    await asyncio.wait([task])
    assert ended
    assert task.cancelled()


async def test_an_undisturbed_request_ends_as_it_ends() -> None:
    async def accepted() -> str:
        return "accepted"

    async def refused() -> str:
        raise Forbidden("no")

    assert await uninterrupted(accepted()) == "accepted"
    with pytest.raises(Forbidden):
        await uninterrupted(refused())
