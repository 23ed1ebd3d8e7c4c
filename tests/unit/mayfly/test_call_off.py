"""What a signal means, at each point of a run."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from mayfly.call_off import CallOff
from orchestrator.events import Event, Note

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signalled:
    """A run that listens for signals, and what it says to them."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Event] = asyncio.Queue()
        self.call_off = CallOff(self.told.put_nowait)
        self.call_off.listen(on_cloud_run=False)

    async def by(self, number: signal.Signals) -> str:
        signal.raise_signal(number)
        note = await asyncio.wait_for(self.told.get(), timeout=10)
        assert isinstance(note, Note)
        return note.message


@pytest.fixture
async def run() -> AsyncIterator[Signalled]:
    yield Signalled()
    for end in ENDS:
        asyncio.get_running_loop().remove_signal_handler(end)


async def test_before_anything_was_touched_a_signal_ends_it_at_once(run: Signalled) -> None:
    signal.raise_signal(signal.SIGINT)
    await asyncio.wait_for(run.call_off.left.wait(), timeout=10)


@pytest.mark.parametrize("end", ENDS)
async def test_the_first_signal_turns_the_run_round(run: Signalled, end: signal.Signals) -> None:
    run.call_off.begun = True
    assert await run.by(end) == f"{end.name}: the run is called off, coming down."
    assert run.call_off.asked.is_set()
    assert not run.call_off.left.is_set()


async def test_a_second_ctrl_c_warns_and_the_third_leaves(run: Signalled) -> None:
    run.call_off.begun = True
    await run.by(signal.SIGINT)
    assert "Once more leaves it as it is" in await run.by(signal.SIGINT)
    assert not run.call_off.left.is_set()
    signal.raise_signal(signal.SIGINT)
    await asyncio.wait_for(run.call_off.left.wait(), timeout=10)


async def test_a_machine_that_repeats_itself_does_not_leave_the_vm_on(run: Signalled) -> None:
    run.call_off.begun = True
    for _ in range(4):
        await run.by(signal.SIGTERM)
    assert not run.call_off.left.is_set()
