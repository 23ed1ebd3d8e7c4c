"""Find one schedule that breaks a promise: what is most likely to, first."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, islice, zip_longest
from random import Random

from tests.simulation import enumeration
from tests.simulation.schedule import Event, Fault, Happening, Kind, Schedule
from tests.simulation.simulate import Played, play

SCHEDULES_MAX = 1500
TRIGGER_AFTER_PAUSE = 226.0  # the lease of a frozen holder has run out, and L after it; the holder is not back yet


@dataclass(frozen=True)
class Found:
    """A schedule that broke a promise, and what finding it took."""

    played: Played
    schedules: int
    seconds: float

    def __str__(self) -> str:
        """The promise, what it took, and how to see it again."""
        took = f"after {self.schedules} schedules, {self.seconds:.1f} s"
        return f"{self.played.violations[0].promise}, {took}: {self.played.schedule}"


def hunt(most: int = SCHEDULES_MAX) -> Found | None:
    """The first schedule that breaks a promise, or None."""
    return first_of(islice(_likely(), most))


def first_of(schedules: Iterator[Schedule]) -> Found | None:
    """The first of them that breaks a promise, or None."""
    began = time.monotonic()
    for number, schedule in enumerate(schedules, 1):
        played = play(schedule)
        if played.violations:
            return Found(played, number, time.monotonic() - began)
    return None


def _likely() -> Iterator[Schedule]:
    """Each kind of schedule in turn, so that none waits for the end of another; and each kind from all its ends."""
    requests = range(enumeration.boundaries())
    kinds = [
        enumeration.singles(),
        enumeration.happenings(),
        [_frozen(at) for at in requests],
        enumeration.called_off_while_unanswered(),
        enumeration.abandoned(),
    ]
    for kind in kinds:
        Random(2).shuffle(kind)
    nothing = None
    seeds = (enumeration.of_seed(seed) for seed in count())
    in_turn = chain.from_iterable(zip_longest(*kinds, seeds, fillvalue=nothing))
    return chain([Schedule()], (schedule for schedule in in_turn if schedule is not None))


def _frozen(at: int) -> Schedule:
    return Schedule((Fault(at, Kind.PAUSE),), (Event(TRIGGER_AFTER_PAUSE, Happening.OTHER_TRIGGER),))
