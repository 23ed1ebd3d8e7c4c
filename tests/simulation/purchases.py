"""Schedules of the trading case, and bugs that they must find."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain
from random import Random
from typing import Any
from unittest.mock import patch

from tests.simulation import enumeration
from tests.simulation.hunt import Found, first_of
from tests.simulation.schedule import Event, Happening, Schedule
from tests.simulation.trading import SimulatedExchange
from vm_agent.jobs.trade.buying import Buyer, Plan
from vm_agent.jobs.trade.market import Order

SCHEDULES = 1000
HUNTED_MAX = 600
CUTS = (Happening.HOST_ERROR, Happening.AGENT_KILLED, Happening.STOPPED, Happening.PREEMPTED)
CUT_SECONDS = (14.0, 46.0)  # when a purchase is under way, if nothing holds it up
CUT_SHARE = 0.7
BEFORE_IT_HEARS_SECONDS = (34.0, 44.0)  # its question is held for 25 s, from about the 16th on


def of_seed(seed: int) -> Schedule:
    """What this seed says for any run, with a purchase as its job, and mostly something that cuts it off."""
    random = Random(seed)
    schedule = replace(enumeration.of_seed(seed), trade=random.choice(("fail", "rerun", "rerun")))
    if random.random() < CUT_SHARE:
        cut = Event(round(random.uniform(*CUT_SECONDS), 1), random.choice(CUTS))
        schedule = replace(schedule, events=(*schedule.events, cut))
    return schedule


def begun_again_soon(seed: int) -> Schedule:
    """The agent dies shortly before the orchestrator would hear of the run anyway, and has the next attempt at once."""
    at = round(Random(seed).uniform(*BEFORE_IT_HEARS_SECONDS), 1)
    return Schedule(events=(Event(at, Happening.AGENT_KILLED),), seed=seed, trade="rerun")


def hunt() -> Found | None:
    """The first purchase that breaks a promise, or None."""
    both = ((of_seed(seed), begun_again_soon(seed)) for seed in range(HUNTED_MAX // 2))
    return first_of(chain.from_iterable(both))


def _named_after_the_attempt() -> AbstractContextManager[Any]:
    """Order ids hold the attempt, so that a later one does not find what an earlier one placed."""
    return _with_plan(
        lambda plan: replace(plan, run_key=plan.run_key if plan.attempt == 1 else f"{plan.run_key}/{plan.attempt}")
    )


def _every_attempt_the_first() -> AbstractContextManager[Any]:
    """A later attempt does not wait for what the dead one had under way."""
    return _with_plan(lambda plan: replace(plan, attempt=1))


def _not_looked_for() -> AbstractContextManager[Any]:
    """A slice is placed without a look for its order."""
    return patch.object(Buyer, "_known", _nothing)


def _placed_again_at_once() -> AbstractContextManager[Any]:
    """A placing without an answer counts as one that never arrived."""
    return patch.object(Buyer, "_what_became_of", _nothing)


def _first_word_believed() -> AbstractContextManager[Any]:
    """The first "there is no such order" is believed, whatever is still under way or not to be seen yet."""
    return patch.object(SimulatedExchange, "settled_seconds", 0.0)


def _with_plan(change: Callable[[Plan], Plan]) -> AbstractContextManager[Any]:
    honest = Buyer.__init__

    def init(self: Buyer, plan: Plan, *rest: Any) -> None:
        honest(self, change(plan), *rest)

    return patch.object(Buyer, "__init__", init)


async def _nothing(_self: Buyer, _client_id: str) -> Order | None:
    return None


MUTANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "orders named after the attempt": _named_after_the_attempt,
    "every attempt taken for the first": _every_attempt_the_first,
    "orders not looked for": _not_looked_for,
    "placed again at once": _placed_again_at_once,
    "first word believed": _first_word_believed,
}
