"""VMs that are made from a template for one run: the same promises, though the ledger goes with the VM."""

from collections.abc import Callable

import pytest

from orchestrator.run import Outcome
from tests.simulation import made
from tests.simulation.schedule import Fault, Kind, parse
from tests.simulation.simulate import play
from tests.simulation.test_simulation import began, kept, quiet

__all__ = ["quiet"]  # the fixture
DOUBLES, SEEDS, CHUNK = 200, 600, 100


def test_without_faults_the_run_succeeds_and_nothing_is_left() -> None:
    played = kept(made.NOMINAL)
    assert [attempt.exit_code for attempt in played.executions[0].attempts] == [0]
    assert played.universe.machine() is None


def test_a_run_that_is_called_off_once_it_was_asked_for_is_told_as_interrupted_and_not_begun_again() -> None:
    """The retry finds neither the VM nor its ledger: that the run was asked for is remembered by the lease alone."""
    played = kept(parse("24:sigterm made"))
    called_off, *retries = played.executions[0].attempts
    assert called_off.exit_code == 143
    assert [attempt.exit_code for attempt in retries] == [5] * len(retries)
    assert retries[0].receipt is not None
    assert retries[0].receipt.outcome is Outcome.INTERRUPTED
    assert began(played) == 1


@pytest.mark.parametrize("kind", Kind)
def test_every_promise_is_kept_whichever_request_meets_it(kind: Kind) -> None:
    for schedule in made.singles():
        if schedule.faults == (Fault(schedule.faults[0].at, kind),):
            kept(schedule)


@pytest.mark.parametrize("chunk", range(4))
def test_every_promise_is_kept_whatever_happens_in_whichever_second(chunk: int) -> None:
    for schedule in made.happenings()[chunk::4]:
        kept(schedule)


def test_every_promise_is_kept_when_it_is_called_off_while_an_answer_is_out() -> None:
    for schedule in made.called_off_while_unanswered():
        kept(schedule)


def test_every_promise_is_kept_when_nobody_but_the_sweep_comes_back() -> None:
    swept = [kept(schedule).swept for schedule in made.left_behind()]
    assert any(swept)


def test_every_promise_is_kept_under_two_faults() -> None:
    for schedule in made.some_doubles(DOUBLES):
        kept(schedule)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_promise_is_kept_under_what_a_seed_makes_of_it(first: int) -> None:
    for schedule in list(made.seeds(first + CHUNK))[first:]:
        kept(schedule)


@pytest.mark.parametrize("bug", made.MUTANTS)
def test_the_simulation_finds_each_bug_that_is_put_in(bug: str, record_property: Callable[[str, str], None]) -> None:
    with made.MUTANTS[bug]():
        found = made.hunt()
    assert found is not None, f"nobody notices: {bug}"
    assert not play(found.played.schedule).violations, "the schedule breaks a promise without the bug, too"
    record_property("told", f"{bug}: {found}")
