"""Whatever is lost, late, refused, killed or stopped, and wherever: no promise is broken, and all is off in the end.

`make sim` runs more of them, and shows any one of them line by line.
"""

import os

import pytest

from tests.simulation.faults import Kind, Schedule, of_seed, parsed
from tests.simulation.mutants import MUTANTS
from tests.simulation.search import (
    doubles,
    first_found,
    hunting_ground,
    nominal_requests,
    sample,
    search,
    seeds,
    simulation_of,
    singles,
)

CORES = min(2, os.cpu_count() or 1)
DOUBLES, SEEDS = 200, 2000


@pytest.fixture(scope="module")
def requests() -> list[str]:
    return nominal_requests()


def _broken(schedules: list[Schedule]) -> list[str]:
    return [str(outcome.found) for outcome in search(schedules, CORES) if outcome.found]


def test_a_run_on_which_nothing_goes_wrong_goes_up_and_down_the_ladder(requests: list[str]) -> None:
    assert [name for name in requests if name in {"instances.start", "agent POST /run", "stopping.stop"}] == [
        "instances.start", "agent POST /run", "stopping.stop",
    ]  # fmt: skip


def test_no_single_fault_at_any_request_breaks_a_promise(requests: list[str]) -> None:
    schedules = singles(requests)
    assert {kind for schedule in schedules for kinds in schedule.faults.values() for kind in kinds} == set(Kind)
    assert _broken(schedules) == []


def test_no_pair_of_faults_of_a_fixed_sample_breaks_a_promise(requests: list[str]) -> None:
    assert _broken(sample(doubles(requests), DOUBLES)) == []


def test_no_random_schedule_breaks_a_promise() -> None:
    assert _broken(seeds(0, SEEDS)) == []


def test_a_schedule_runs_the_same_way_each_time() -> None:
    runs = [simulation_of(of_seed(7)) for _ in range(2)]
    for one in runs:
        one.run()
    assert runs[0].observer.trace == runs[1].observer.trace
    assert len(runs[0].observer.trace) > 0


def test_a_schedule_is_written_as_one_word_and_read_back() -> None:
    schedule = Schedule({3: (Kind.LOST, Kind.SIGTERM), 40: (Kind.HOST_ERROR,)})
    assert str(schedule) == "3:lost,3:sigterm,40:host-error"
    assert parsed(str(schedule)) == schedule
    assert parsed("seed-7") == of_seed(7)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_bug_switched_on_is_found(mutant: str, requests: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = first_found(hunting_ground(requests, mutant), mutant)
    assert found is not None
    with capsys.disabled():
        print(f"\n{mutant}: found in {found[2]:.1f} s by schedule {found[1]}, {found[0].what} ({found[0].schedule})")
