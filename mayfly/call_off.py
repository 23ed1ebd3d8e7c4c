"""What a signal means: the first turns the run round, and who insists by Ctrl-C may leave the VM as it is."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from orchestrator.events import Event, Note

T = TypeVar("T")


def run_and_leave(work: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`, for a process that leaves right after: a request that hangs is not waited for.

    `asyncio.run` would cancel what is left, and wait until that has seen its request through: for longer than a signal
    leaves. The receipt must be out before.
    """
    return asyncio.new_event_loop().run_until_complete(work)


class CallOff:
    """Listens for signals. `begun` is set once the VM may be touched: before that, nothing has to come down."""

    def __init__(self, tell: Callable[[Event], None], what: str = "run") -> None:
        self.asked = asyncio.Event()  # come down
        self.left = asyncio.Event()  # leave at once
        self.begun = False
        self.asked_at: float | None = None  # by the loop's clock
        self._tell = tell
        self._what = what
        self._warned = False

    def listen(self, *, on_cloud_run: bool) -> None:
        """Until the process ends."""
        loop = asyncio.get_running_loop()
        ends = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else it is meant to outlive its terminal: nohup
            ends.append(signal.SIGHUP)
        for end in ends:
            loop.add_signal_handler(end, self._ended_by, end)
        if on_cloud_run:  # it pauses us to move us to another host; to stop for that would only lose time
            for pause in (signal.SIGTSTP, signal.SIGCONT):
                note = Note("INFO", f"{pause.name}: Cloud Run moves this task; going on.")
                loop.add_signal_handler(pause, self._tell, note)

    def _ended_by(self, end: signal.Signals) -> None:
        if self.asked_at is None:
            self.asked_at = asyncio.get_running_loop().time()
        insists = end is signal.SIGINT and self.asked.is_set()
        if not self.begun or (insists and self._warned):
            self.left.set()
        elif not self.asked.is_set():
            self._warn(end, f"the {self._what} is called off, coming down.")
        elif insists:
            self._warned = True
            self._warn(end, "already coming down, the VM is not seen off yet. Once more leaves it as it is.")
        else:
            self._warn(end, "already coming down.")
        self.asked.set()

    def _warn(self, end: signal.Signals, what: str) -> None:
        self._tell(Note("WARNING", f"{end.name}: {what}"))
