"""Which schedules there are, and running many of them, on as many cores as there are."""

import logging
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random

from tests.simulation import mutants
from tests.simulation.faults import Kind, Schedule, of_seed
from tests.simulation.google import Library, changes_something
from tests.simulation.world import Simulation

Fault = tuple[int, Kind]
CHUNK = 4  # schedules handed to a core at once


@dataclass(frozen=True)
class Found:
    """A schedule under which a promise was broken, or that did not end."""

    schedule: Schedule
    what: str

    def __str__(self) -> str:
        return f"{self.what}\n    {self.schedule.command}"


@dataclass(frozen=True)
class Outcome:
    """One schedule was run."""

    found: Found | None
    late_cuts: int
    idle_seconds: float


_LIBRARY: list[Library] = []


def try_one(schedule: Schedule) -> Outcome:
    """Run it; what it found is told, not raised."""
    simulation = simulation_of(schedule)
    found = None
    try:
        simulation.run()
    except Exception as wrong:  # noqa: BLE001 - a bug is found as a violation is
        found = Found(schedule, f"{type(wrong).__name__}: {wrong}")
    return Outcome(found, simulation.observer.late_cuts, simulation.observer.idle_seconds())


def simulation_of(schedule: Schedule) -> Simulation:
    """A world in which that schedule can be run once."""
    logging.disable(logging.CRITICAL)  # nobody could tell whose lines they are
    if not _LIBRARY:
        _LIBRARY.append(Library())
    shared_memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="mayfly-simulation-", dir=shared_memory if shared_memory.is_dir() else None)
    return Simulation(schedule, _LIBRARY[0], Path(folder))


def nominal_requests() -> list[str]:
    """What an orchestrator asks for when nothing goes wrong, in order."""
    simulation = simulation_of(Schedule())
    simulation.run()
    return simulation.network.sendings


def single_faults(requests: list[str]) -> list[Fault]:
    """Every fault at every request; an operation can only fail where one begins."""
    return [
        (at, kind)
        for at, request in enumerate(requests)
        for kind in Kind
        if kind is not Kind.OPERATION_ERROR or changes_something(request)
    ]


def singles(requests: list[str]) -> list[Schedule]:
    return [Schedule({at: (kind,)}) for at, kind in single_faults(requests)]


def doubles(requests: list[str]) -> Iterator[Schedule]:
    """Every pair of faults. The second may strike what came of the first: beyond the nominal requests too."""
    for (first, kind), (second, other) in combinations(single_faults(requests), 2):
        yield Schedule({first: (kind, other)} if first == second else {first: (kind,), second: (other,)})


def sample(schedules: Iterable[Schedule], count: int) -> list[Schedule]:
    """Always the same ones."""
    return Random("a fixed sample").sample(list(schedules), count)


def seeds(first: int, count: int) -> list[Schedule]:
    return [of_seed(seed) for seed in range(first, first + count)]


def search(schedules: Iterable[Schedule], cores: int, mutant: str | None = None) -> Iterator[Outcome]:
    """Run them all, on so many cores; outcomes come as they are known."""
    if cores == 1:
        with mutants.switched_on(mutant):
            yield from map(try_one, schedules)
        return
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        yield from pool.imap_unordered(try_one, schedules, chunksize=CHUNK)


def hunting_ground(requests: list[str], mutant: str) -> list[Schedule]:
    """All single faults, and all pairs at one request, where that bug shows soonest."""
    where = {at for at, request in enumerate(requests) if request.startswith(mutants.MUTANTS[mutant].hunted_at)}
    faults = [fault for fault in single_faults(requests) if fault[0] in where]
    pairs = [Schedule({at: (one, two)}) for (at, one), (other, two) in combinations(faults, 2) if at == other]
    return [Schedule({at: (kind,)}) for at, kind in faults] + pairs


def first_found(schedules: Iterable[Schedule], mutant: str) -> tuple[Found, int, float] | None:
    """The first schedule that shows this bug, how many were tried, and how long that took."""
    began = time.monotonic()
    with mutants.switched_on(mutant):
        for tried, outcome in enumerate(map(try_one, schedules), start=1):
            if outcome.found:
                return outcome.found, tried, time.monotonic() - began
    return None
