"""Schedules of VMs that are made from a template for one run, and deleted after it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from itertools import chain, product, zip_longest
from random import Random
from typing import Any
from unittest.mock import patch

from orchestrator import moves
from orchestrator.ladder import Move
from orchestrator.seen import Machine, Seen
from orchestrator.trip import Trip
from tests.simulation import enumeration
from tests.simulation.hunt import Found, first_of
from tests.simulation.mutants import nothing_is_settled
from tests.simulation.schedule import Event, Fault, Happening, Kind, Schedule
from tests.simulation.simulate import play

NOMINAL = Schedule(made=True)


@cache
def moments() -> tuple[float, ...]:
    """When a run sends each of its requests, when nothing goes wrong."""
    return tuple(play(NOMINAL).universe.crossed_at)


def singles() -> list[Schedule]:
    """Every fault at every request."""
    return [replace(NOMINAL, faults=(fault,)) for fault in _faults()]


def happenings() -> list[Schedule]:
    """Every event, at every second of a run."""
    return [replace(schedule, made=True) for schedule in enumeration.happenings()]


def called_off_while_unanswered() -> list[Schedule]:
    """A SIGTERM while the answer to a request is still waited for: whether it was done, nobody knows."""
    return [
        replace(NOMINAL, faults=(Fault(at, kind),), events=(Event(round(moment + 1, 3), Happening.CALLED_OFF),))
        for (at, moment), kind in product(enumerate(moments()), enumeration.UNANSWERED)
    ]


def left_behind() -> list[Schedule]:
    """Every orchestrator killed for good just after it has sent a request: nobody but the sweep comes back."""
    return [replace(NOMINAL, events=(Event(round(at + 0.001, 3), Happening.JOB_DELETED),)) for at in moments()]


def some_doubles(count: int) -> list[Schedule]:
    """A fixed sample of the pairs of faults."""
    random, faults = Random(count), _faults()
    pairs = [sorted(random.sample(faults, 2), key=lambda fault: fault.at) for _ in range(count)]
    return [replace(NOMINAL, faults=tuple(pair)) for pair in pairs if pair[0].at != pair[1].at]


def seeds(count: int) -> Iterator[Schedule]:
    """What each seed says for any run."""
    return (replace(enumeration.of_seed(seed), made=True) for seed in range(count))


def _faults() -> list[Fault]:
    return [Fault(at, kind) for at, kind in product(range(len(moments())), Kind)]


def hunt() -> Found | None:
    """The first schedule that breaks a promise, or None."""
    kinds = [singles(), called_off_while_unanswered(), happenings(), left_behind()]
    for kind in kinds:
        Random(2).shuffle(kind)
    in_turn = chain.from_iterable(zip_longest(*kinds))
    return first_of(schedule for schedule in in_turn if schedule is not None)


def _a_cut_run_is_forgotten() -> AbstractContextManager[Any]:
    """A run that is called off is forgotten with the VM that knew of it, so its key may be started again."""
    return patch.object(Trip, "may_have_begun", False)


@contextmanager
def _an_insert_of_which_nobody_heard_was_never_sent() -> Iterator[None]:
    """Nobody waits for what may still land, and cancelled requests are forgotten at once."""

    async def create(seen: Seen, trip: Trip) -> None:
        assert trip.world.creation is not None
        await trip.world.creation.create(seen.machine, seen.address, trip.run.max_run)

    name, sentence, _ = moves._UP[Move.CREATE_MACHINE]
    with nothing_is_settled(), patch.dict(moves._UP, {Move.CREATE_MACHINE: (name, sentence, create)}):
        yield


def _off_is_enough() -> AbstractContextManager[Any]:
    """A VM that was made for a run counts as down once it is off: its disk stays, and costs."""
    return patch.object(Machine, "down", lambda self, *, ephemeral: self.off)


MUTANTS = {
    "a cut run is forgotten with its VM": _a_cut_run_is_forgotten,
    "an insert of which nobody heard was never sent": _an_insert_of_which_nobody_heard_was_never_sent,
    "off is enough for a VM that was made for a run": _off_is_enough,
}
