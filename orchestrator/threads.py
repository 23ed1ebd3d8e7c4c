"""A few daemon threads for Google's synchronous client."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

# Held while Google's packages are imported: they import each other in circles, and two threads that begin at different
# ends of a circle see half a module each.
IMPORTING = threading.Lock()


class Threads:
    """At most `most` threads, begun when they are needed.

    They are daemons, unlike those of `asyncio.to_thread` and concurrent.futures: an abandoned `operations.wait` holds
    its thread for up to two minutes, and the process must be able to leave meanwhile.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` on one of the threads. Cancelled, it is dropped if it waits for a thread, and abandoned if not."""
        future: Future[T] = Future()
        self._work.put((future, work))
        if not self._idle.acquire(blocking=False) and self._count < self._most:
            self._count += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._count}", daemon=True).start()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let idle threads end. Nobody is waited for."""
        for _ in range(self._count):
            self._work.put(None)

    def _serve(self) -> None:
        while (task := self._work.get()) is not None:
            future, work = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 - whoever awaits the future gets it
                    future.set_exception(error)
            del future, work, task  # an idle thread keeps nothing alive
            self._idle.release()
