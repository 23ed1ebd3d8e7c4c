"""Patience with the network: what is worth another try is tried again here, and nowhere else."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from orchestrator.errors import Transient
from orchestrator.policy import Patience
from orchestrator.ports import Clock

T = TypeVar("T")


class Later(Transient):
    """Worth another try, but not before `pause` has passed: a rate limit, a Retry-After."""

    def __init__(self, message: str, pause: timedelta) -> None:
        super().__init__(message)
        self.pause = pause


async def patiently(attempt: Callable[[], Awaitable[T]], patience: Patience, clock: Clock) -> T:
    """What `attempt` gives, tried again while it raises Transient, with full jitter between the tries.

    Both `patience.tries` and `patience.within` bound it: a pause that would end too late is not begun, and the last
    error is raised at once.
    """
    began = clock.monotonic()
    jitter = wait_random_exponential(
        multiplier=patience.first_pause.total_seconds(), max=patience.longest_pause.total_seconds()
    )

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return jitter(state) + (error.pause.total_seconds() if isinstance(error, Later) else 0.0)

    def enough(state: RetryCallState) -> bool:
        elapsed = clock.monotonic() - began
        too_late = elapsed + state.upcoming_sleep > patience.within.total_seconds()
        return state.attempt_number >= patience.tries or too_late

    async def sleep(seconds: float) -> None:
        await clock.sleep(timedelta(seconds=seconds))

    async def once() -> T:  # tenacity awaits nothing but coroutine functions
        return await attempt()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Transient), wait=pause, stop=enough, sleep=sleep, reraise=True
    )
    return await retrying(once)


async def uninterrupted(work: Awaitable[T]) -> T:
    """Await `work`; if we are cancelled meanwhile, let it end first, whatever it says, and be cancelled then.

    For requests that change something: one that was sent cannot be unsent, so its end is waited for before anybody
    decides anything. The wait is bounded by the request's own timeout; to wait less, do not await the cancelled task.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as forgotten
        raise
