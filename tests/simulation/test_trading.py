"""A purchase under a thousand seeded schedules: never two orders of one name, never two sets of orders for one key."""

import gc
import logging
from collections.abc import Callable, Iterator

import pytest

from tests.simulation import purchases
from tests.simulation.schedule import Event, Happening, Schedule, parse
from tests.simulation.simulate import Played, play

CHUNK = 100


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The agent's log tells what the schedule made it tell. What is imported stays: no use in looking through it."""
    logging.disable(logging.CRITICAL)
    gc.freeze()
    yield
    gc.unfreeze()
    logging.disable(logging.NOTSET)


def kept(schedule: Schedule) -> Played:
    played = play(schedule)
    said = "\n".join(map(str, played.violations))
    assert not played.violations, f"{said}\nReplay it: make sim SCHEDULE='{schedule}'\n{played}"
    return played


def attempts_begun(played: Played) -> int:
    return sum(told.text.startswith("job of") for told in played.universe.trace)


def filled(played: Played) -> list[float]:
    """When each order was."""
    return [told.at for told in played.universe.trace if told.text.startswith("exchange: filled")]


def test_without_faults_every_slice_is_bought_once() -> None:
    played = kept(Schedule(trade="fail"))
    [attempt] = played.executions[0].attempts
    assert (attempt.exit_code, len(filled(played)), attempts_begun(played)) == (0, 5, 1)


@pytest.mark.parametrize(("trade", "begun", "orders"), [("fail", 1, 2), ("rerun", 2, 5)])
def test_a_purchase_that_is_cut_off_is_begun_again_only_if_it_may_be(trade: str, begun: int, orders: int) -> None:
    """The agent is killed between the second slice and the third."""
    moments = filled(kept(Schedule(trade=trade)))
    played = kept(Schedule(events=(Event(moments[1] + 1, Happening.AGENT_KILLED),), trade=trade))
    assert (attempts_begun(played), len(filled(played))) == (begun, orders)


def test_a_purchase_is_replayed_to_the_letter() -> None:
    schedule = purchases.of_seed(7)
    assert str(play(schedule)) == str(play(parse(str(schedule))))


@pytest.mark.parametrize("first", range(0, purchases.SCHEDULES, CHUNK))
def test_never_two_orders_for_one_key_under_what_a_seed_makes_of_it(first: int) -> None:
    begun_again = 0
    for seed in range(first, first + CHUNK):
        begun_again += attempts_begun(kept(purchases.of_seed(seed))) > 1
    assert begun_again > CHUNK // 20, "hardly a purchase was begun twice: the schedules miss what they are for"


@pytest.mark.parametrize("bug", purchases.MUTANTS)
def test_the_simulation_finds_each_way_to_buy_twice(bug: str, record_property: Callable[[str, str], None]) -> None:
    with purchases.MUTANTS[bug]():
        found = purchases.hunt()
    assert found is not None, f"nobody notices: {bug}"
    assert found.played.violations[0].promise in {"T1", "T2", "T3"}
    assert not play(found.played.schedule).violations, "the schedule breaks a promise without the bug, too"
    record_property("told", f"{bug}: {found}")
