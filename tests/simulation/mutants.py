"""Bugs by name, switched on one at a time: the simulation must find each.

A mutant replaces one function of the real code. It fails loudly when that is no longer there.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from orchestrator import claims, drive, goal, google_settling, ladder, moves, seen, sweep
from orchestrator.look import look_down
from orchestrator.run import Run
from orchestrator.seen import Seen
from orchestrator.trip import Trip
from tests.simulation import sweeper
from tests.simulation.guest import Guest
from vm_agent import deadman, ledger
from vm_agent.protocol import RunView


def _start_not_settled() -> AbstractContextManager[Any]:
    """A START whose reply was lost counts as never sent, so nobody stops what it brings up."""

    async def start(seen: Seen, trip: Trip) -> None:
        trip.before_start = seen.machine
        await trip.world.machines.start(seen.machine)

    name, sentence, _ = moves._UP[ladder.Move.START_MACHINE]
    return patch.dict(moves._UP, {ladder.Move.START_MACHINE: (name, sentence, start)})


@contextmanager
def nothing_is_settled() -> Iterator[None]:
    """The same, and cancelled requests are forgotten at once."""

    async def unprotected(work: Any) -> Any:
        return await work

    async def at_once(seen: Seen, trip: Trip, _verdict: object) -> None:
        trip.in_flight = None
        del seen

    name, sentence, _ = moves._DOWN[ladder.Move.SETTLE]
    settle = {ladder.Move.SETTLE: (name, sentence, at_once)}
    unasked = patch.object(google_settling, "uninterrupted", unprotected)
    with _start_not_settled(), unasked, patch.dict(moves._DOWN, settle):
        yield


def _takeover_at_once() -> AbstractContextManager[Any]:
    """A lease that somebody holds is taken without waiting for its end."""
    return patch.object(claims, "_still_taken", lambda *_: None)


@contextmanager
def _released_early() -> Iterator[None]:
    """A stop that was accepted counts as done, and STOPPING as off: the lease is given back before TERMINATED."""
    honest = ladder.ours_to_stop

    def ours_to_stop(seen: Seen, run: Run) -> bool:
        return not seen.machine.going_off and honest(seen, run)

    async def stop(_: object, send: google_settling.Send, _subject: object, _again: object) -> None:
        await send(str(uuid4()))

    accepted = patch.object(google_settling.SeeingThrough, "stop", stop)
    with patch.object(ladder, "ours_to_stop", ours_to_stop), accepted:
        yield


def _late_stop() -> AbstractContextManager[Any]:
    """A zombie's stop: coming down goes by the lease as it was when we held it, without another look."""

    async def look(trip: Trip) -> Seen | None:
        seen = await look_down(trip)
        held = getattr(trip, "held_once", None)
        if seen is None or seen.machine.lease is None:
            return seen
        if seen.machine.lease.nonce == trip.run.nonce:
            trip.held_once = seen.machine.lease  # type: ignore[attr-defined]
        elif held is None:
            held = replace(seen.machine.lease, nonce=trip.run.nonce)
        return seen if held is None else replace(seen, machine=replace(seen.machine, lease=held))

    return patch.object(drive, "look_down", look)


def _no_sync() -> AbstractContextManager[Any]:
    """The ledger is written without a sync: a power cut forgets what was accepted."""
    return patch.object(Guest, "ledger_sync", "OFF")


def _key_ignored() -> AbstractContextManager[Any]:
    """The ledger takes every start for a new one."""
    honest = ledger.Ledger.accept

    def accept(self: ledger.Ledger, view: RunView, fingerprint: str) -> tuple[RunView, bool]:
        self._ask("UPDATE runs SET key = key || '.' || id, live = NULL WHERE key = ?", view.key)
        return honest(self, view, fingerprint)

    return patch.object(ledger.Ledger, "accept", accept)


def _believed() -> AbstractContextManager[Any]:
    """A run that nobody can tell the end of counts as succeeded."""
    return patch.dict(goal._VERDICTS, dict.fromkeys(goal._VERDICTS, goal.Outcome.SUCCEEDED))


def _address_off_first() -> AbstractContextManager[Any]:
    """Coming down, the address goes before the VM, under the live run."""
    rungs = {rung.name: rung for rung in ladder.RUNGS}
    order = ["lease", "deadline", "machine", "address", "agent", "run"]
    return patch.object(ladder, "RUNGS", tuple(rungs[name] for name in order))


def _sweep_asks_nobody() -> AbstractContextManager[Any]:
    """A sweep takes an expired lease for a dead run, whatever the agent shows."""
    return patch.object(sweep, "live_run", lambda *_: None)


@contextmanager
def _sweep_touches_all() -> Iterator[None]:
    """A sweep takes every VM for ours, with or without the label."""
    with patch.object(seen, "_ours", lambda _: True), patch.object(sweeper, "OURS", ""):
        yield


def _dead_man_asleep() -> AbstractContextManager[Any]:
    """The dead-man never turns the VM off."""

    async def watch(_: deadman.Deadman, _power_off: object) -> None:
        await asyncio.Event().wait()

    return patch.object(deadman.Deadman, "watch", watch)


MUTANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "lost reply of start": nothing_is_settled,
    "zombie's late stop": _late_stop,
    "takeover without waiting": _takeover_at_once,
    "lease released before TERMINATED": _released_early,
    "ledger without sync": _no_sync,
    "ledger without keys": _key_ignored,
    "every end a success": _believed,
    "address off before the VM": _address_off_first,
    "sweep without asking the agent": _sweep_asks_nobody,
    "sweep without the label": _sweep_touches_all,
    "dead-man asleep": _dead_man_asleep,
}
