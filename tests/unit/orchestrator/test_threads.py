"""Daemon threads for a synchronous client."""

import asyncio
import subprocess
import sys
import threading

import pytest

from orchestrator.threads import Threads

LEAVES_AN_ABANDONED_CALL = """
import asyncio, threading
from orchestrator.threads import Threads

async def main():
    begun = threading.Event()
    call = asyncio.create_task(Threads(1, "test").call(lambda: (begun.set(), threading.Event().wait())))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.wait([call])

asyncio.run(main())
print("left")
"""


async def test_calls_run_on_other_threads_and_give_what_they_give() -> None:
    threads = Threads(2, "test")
    assert await threads.call(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await threads.call(lambda: 1 // 0)
    threads.close()


async def test_there_are_never_more_threads_than_allowed_and_idle_ones_are_used_again() -> None:
    threads, both = Threads(2, "test"), threading.Barrier(3)

    def work() -> str:
        both.wait()
        return threading.current_thread().name

    calls = [asyncio.create_task(threads.call(work)) for _ in range(4)]
    await asyncio.to_thread(both.wait)
    await asyncio.to_thread(both.wait)
    assert set(await asyncio.gather(*calls)) == {"test-1", "test-2"}
    assert await threads.call(lambda: threading.current_thread().name) in {"test-1", "test-2"}
    threads.close()


async def test_a_call_that_is_cancelled_while_it_waits_for_a_thread_is_never_made() -> None:
    threads, may_end = Threads(1, "test"), threading.Event()
    made: list[str] = []
    first = asyncio.create_task(threads.call(may_end.wait))
    second = asyncio.create_task(threads.call(lambda: made.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    may_end.set()
    await first
    await threads.call(lambda: made.append("third"))
    assert made == ["third"]
    threads.close()


async def test_closed_threads_end() -> None:
    threads = Threads(1, "test")
    thread = await threads.call(threading.current_thread)
    threads.close()
    await asyncio.to_thread(thread.join)
    assert not thread.is_alive()


def test_the_process_leaves_without_waiting_for_an_abandoned_call() -> None:
    command = [sys.executable, "-c", LEAVES_AN_ABANDONED_CALL]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "left\n"
