"""Nothing left on, nothing twice, whatever dies and whenever: the real code on virtual time, under every fault."""

import logging
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from tests.simulation import enumeration
from tests.simulation.events import CROWD
from tests.simulation.hunt import hunt
from tests.simulation.mutants import MUTANTS
from tests.simulation.observer import NOT_PROMISED
from tests.simulation.schedule import CROWDS, Event, Fault, Happening, Kind, Schedule, parse
from tests.simulation.simulate import Played, play

SEEDS, CHUNK = 2000, 100
CROWDED_SEEDS = 4
DOUBLES = 400  # a fixed sample; `make sim` plays them all
LEFT_EVERY = 3  # of what is left behind, likewise
SWEPT_EVERY = 80  # of the faults at a sweep's requests, likewise


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The agent's log tells what the schedule made it tell."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def kept(schedule: Schedule) -> Played:
    """Play it, and see every promise kept."""
    played = play(schedule)
    assert not played.violations, _report(played)
    assert played.excused.keys() <= NOT_PROMISED.keys()
    return played


def began(played: Played) -> int:
    """How many jobs began to work."""
    return sum(told.text.startswith("job of ") for told in played.universe.trace)


def number_of(line: str) -> int:
    """Which request this line of a trace tells of."""
    return int(line.removeprefix("#").split()[0])


def _report(played: Played) -> str:
    said = "\n".join(map(str, played.violations))
    return f"{said}\nReplay it: make sim SCHEDULE='{played.schedule}'\n{played}"


def test_without_faults_the_run_succeeds_and_nothing_is_owed() -> None:
    played = kept(Schedule())
    [attempt] = played.executions[0].attempts
    assert attempt.exit_code == 0
    assert not played.excused


def test_a_schedule_is_replayed_to_the_letter() -> None:
    schedule = enumeration.of_seed(17)
    assert str(play(schedule)) == str(play(parse(str(schedule))))


def test_the_run_that_a_frozen_orchestrators_stop_cuts_is_told_as_interrupted_and_not_begun_again() -> None:
    [stop] = [number_of(told.text) for told in play(Schedule()).universe.trace if told.text.endswith("/stop")]
    long_after = Event(250, Happening.OTHER_TRIGGER)  # the frozen one's lease is dead, and it wakes up under this run
    played = kept(Schedule((Fault(stop, Kind.PAUSE),), (long_after,)))
    assert played.excused == {"a stop from a frozen orchestrator": 1}
    _, other = played.executions
    assert {attempt.exit_code for attempt in other.attempts} == {5}
    assert began(played) == 2


@pytest.mark.parametrize("kind", Kind)
def test_every_promise_is_kept_whichever_request_meets_it(kind: Kind) -> None:
    for schedule in enumeration.singles():
        if schedule.faults[0].kind is kind:
            kept(schedule)


@pytest.mark.parametrize("chunk", range(4))
def test_every_promise_is_kept_whatever_happens_in_whichever_second(chunk: int) -> None:
    for schedule in enumeration.happenings()[chunk::4]:
        kept(schedule)


def test_every_promise_is_kept_when_it_is_called_off_while_an_answer_is_out() -> None:
    for schedule in enumeration.called_off_while_unanswered():
        kept(schedule)


def test_every_promise_is_kept_whatever_dies_however_often() -> None:
    for schedule in enumeration.crash_after_crash():
        kept(schedule)


@pytest.mark.parametrize("chunk", range(4))
def test_every_promise_is_kept_when_nobody_but_the_sweep_comes_back(chunk: int) -> None:
    schedules = enumeration.abandoned()[chunk * LEFT_EVERY :: 4 * LEFT_EVERY]
    swept = [kept(schedule).swept for schedule in schedules]
    assert sum(swept) > len(schedules) // 4, "the sweep had next to nothing to do"


@pytest.mark.parametrize("chunk", range(4))
def test_every_promise_is_kept_when_the_sweep_itself_meets_a_fault(chunk: int) -> None:
    for schedule in islice(enumeration.swept_under_faults(), chunk * 5, None, SWEPT_EVERY):
        kept(schedule)


@pytest.mark.parametrize("chunk", range(4))
def test_every_promise_is_kept_under_two_faults(chunk: int) -> None:
    for schedule in enumeration.some_doubles(DOUBLES)[chunk::4]:
        kept(schedule)


def test_of_twenty_orchestrators_with_one_key_one_starts_the_run_and_all_tell_its_end() -> None:
    played = kept(Schedule(events=(Event(0, Happening.CROWD_OF_ONE_KEY),)))
    assert [execution.attempts[-1].exit_code for execution in played.executions] == [0] * CROWD
    assert began(played) == 1


def test_of_twenty_orchestrators_with_a_key_each_all_that_wait_have_their_turn() -> None:
    played = kept(Schedule(events=(Event(0, Happening.CROWD),)))
    first, *others = [execution.attempts[-1].exit_code for execution in played.executions]
    assert others == [0] * (CROWD - 1)
    assert first in {0, 6}, "it waits for nobody: it comes first, or leaves"
    assert began(played) == [first, *others].count(0)


@pytest.mark.parametrize("crowd", CROWDS)
def test_every_promise_is_kept_when_twenty_orchestrators_begin_at_once(crowd: Happening) -> None:
    for seed in range(CROWDED_SEEDS):
        kept(enumeration.crowded(seed, crowd))


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_promise_is_kept_under_what_a_seed_makes_of_it(first: int) -> None:
    for seed in range(first, first + CHUNK):
        kept(enumeration.of_seed(seed))


@pytest.mark.parametrize("bug", MUTANTS)
def test_the_simulation_finds_each_bug_that_is_put_in(bug: str, record_property: Callable[[str, str], None]) -> None:
    with MUTANTS[bug]():
        found = hunt()
    assert found is not None, f"nobody notices: {bug}"
    assert not play(found.played.schedule).violations, "the schedule breaks a promise without the bug, too"
    record_property("told", f"{bug}: {found}")
