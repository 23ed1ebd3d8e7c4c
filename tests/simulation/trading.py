"""The trading case: the real purchase (vm_agent.jobs.trade.buying) is the job, at an exchange that loses and delays.

T1  no two orders of one name         T2  the runs of one key place no more orders than it has slices
T3  no order of another name than a slice's        T4  SUCCEEDED only if every slice is in the book

The exchange is as bad as the job's policy says it may be: a request lands up to the end of its window after it was
sent, and a look-up finds an order up to LOOK_UP_LAG_SECONDS after it was placed. Who believes sooner buys twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import TypeVar

from orchestrator.run import Outcome
from tests.exchange.book import STEP, TICK, Book, Bought
from tests.simulation.inside import BootClock
from tests.simulation.observer import Observer
from tests.simulation.platform import Execution
from tests.simulation.universe import Universe
from vm_agent.ending import Verdict
from vm_agent.jobs.trade import policy
from vm_agent.jobs.trade.buying import Buyer, Plan, Step
from vm_agent.jobs.trade.errors import TradeError
from vm_agent.jobs.trade.market import NoAnswer, Order, Rules
from vm_agent.jobs.trade.slices import client_order_id
from vm_agent.process import Order as Run
from vm_agent.protocol import Failure, State

T = TypeVar("T")

SLICES, PAUSE_SECONDS, SPEND = 5, 6.0, Decimal(60)
ONE_WAY_SECONDS = 0.05
WINDOW_SECONDS = policy.RECV_WINDOW_SECONDS + policy.AHEAD_SECONDS  # by a clock that is ahead as far as it may be
LATE_SECONDS = (0.5, 1.5 * WINDOW_SECONDS)
WEATHERS = (0.0, 0.1, 0.3, 0.6)  # how much of what is asked meets a fault


class Fault(StrEnum):
    """What can happen to a request on its way to the exchange and back."""

    LOST = "lost"
    REPLY_LOST = "reply-lost"
    LATE = "late"  # the connection breaks, and it lands all the same
    UNAVAILABLE = "5xx"  # not done
    UNKNOWN = "unknown"  # done, and answered with "execution status unknown"


class Floor:
    """The exchange, and every run that buys there."""

    def __init__(self, universe: Universe, observer: Observer, executions: list[Execution], seed: int | None) -> None:
        self.universe, self.observer, self.executions = universe, observer, executions
        self.random = Random(seed)
        self.laggy = seed is not None
        self.weather = self.random.choice(WEATHERS) if self.laggy else 0.0
        self.book = Book()
        self.visible_at: dict[int, float] = {}  # order -> when look-ups know it
        self._of_key: defaultdict[str, list[Bought]] = defaultdict(list)
        universe.work = self.work

    async def work(self, run: Run) -> Verdict:
        """The job: as `vm_agent.jobs.trade:run` does, behind its params."""
        plan = Plan("BTC/USDT", SPEND, SLICES, PAUSE_SECONDS, run_key=run.key, attempt=run.attempt)
        try:
            await Buyer(plan, SimulatedExchange(self, run), BootClock(self.universe.loop, 0), self._tell).buy()
        except TradeError as problem:
            self.universe.tell(f"the purchase failed: {problem}")
            return Verdict(State.FAILED, failure=Failure(detail=str(problem)))
        return Verdict(State.SUCCEEDED, result={"bought": SLICES})

    def place(self, run: Run, client_id: str, cost: Decimal) -> Order:
        """An order arrives: it is filled, and judged."""
        bought = self.book.place(client_id, cost)
        lag = self.random.uniform(0, policy.LOOK_UP_LAG_SECONDS) if self.laggy else 0.0
        self.visible_at[bought.order_id] = self.universe.loop.time() + lag
        self._of_key[run.key].append(bought)
        self.universe.tell(f"exchange: filled {client_id}, of {run.key} attempt {run.attempt}; found in {lag:.1f} s")
        if len(self._of_key[run.key]) > SLICES:
            self.observer.note("T2", f"{run.key} has bought {len(self._of_key[run.key])} times in {SLICES} slices")
        for name in self.book.placed_twice():
            self.observer.note("T1", f"two orders are called {name}")
        if client_id not in {client_order_id(run.key, number) for number in range(1, SLICES + 1)}:
            self.observer.note("T3", f"{client_id} is no slice of {run.key}")
        return _order(bought)

    def find(self, client_id: str) -> Order | None:
        """By a replica that lags behind."""
        bought = self.book.find(client_id)
        return _order(bought) if bought and self.visible_at[bought.order_id] <= self.universe.loop.time() else None

    def judge_the_end(self) -> None:
        """What is said to be bought was bought."""
        for execution in self.executions:
            for attempt in execution.attempts:
                receipt = attempt.receipt
                if receipt and receipt.outcome is Outcome.SUCCEEDED and len(self._of_key[receipt.run_key]) != SLICES:
                    self.observer.note("T4", f"{receipt.run_key} succeeded with {len(self._of_key[receipt.run_key])}")

    def _tell(self, step: Step) -> None:
        self.universe.tell(f"slice {step.number} {'sending' if step.order is None else 'bought'} {step.client_id}")


class SimulatedExchange:
    """The port Exchange, on virtual time. What was sent goes its way without its sender."""

    def __init__(self, floor: Floor, run: Run) -> None:
        self._floor, self._run = floor, run

    @property
    def settled_seconds(self) -> float:
        """As Binance's."""
        return WINDOW_SECONDS + policy.LOOK_UP_LAG_SECONDS

    async def rules(self, symbol: str) -> Rules:
        """What the book goes by."""
        return await self._ask("rules", lambda: Rules(*symbol.split("/"), TICK, Decimal(5), None, STEP))

    async def price(self, symbol: str) -> Decimal:
        """Always the same."""
        return await self._ask(f"price {symbol}", lambda: self._floor.book.price)

    async def free(self, currency: str) -> Decimal:
        """What is left."""
        return await self._ask("balance", lambda: self._floor.book.balances[currency])

    async def find(self, symbol: str, client_id: str) -> Order | None:
        """The order, as soon as look-ups know it."""
        return await self._ask(f"find {symbol} {client_id}", lambda: self._floor.find(client_id))

    async def place(self, symbol: str, client_id: str, cost: Decimal) -> Order:
        """Whoever sends this twice buys twice."""
        return await self._ask(f"place {symbol} {client_id}", lambda: self._floor.place(self._run, client_id, cost))

    async def _ask(self, what: str, act: Callable[[], T]) -> T:
        universe, met = self._floor.universe, self._meets()
        loop, sent = universe.loop, universe.loop.time()
        universe.tell(f"exchange: {what}{f'  <- {met}' if met else ''}")
        answered: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def land() -> None:
            if loop.time() - sent > WINDOW_SECONDS:
                universe.tell(f"exchange: {what} came too late, and is refused")
                return
            result = act()
            if met is None:
                loop.outside(loop.time() + ONE_WAY_SECONDS, hear, result)

        def hear(result: T) -> None:
            if not answered.done():
                answered.set_result(result)

        if met not in {Fault.LOST, Fault.UNAVAILABLE}:
            delay = self._floor.random.uniform(*LATE_SECONDS) if met is Fault.LATE else ONE_WAY_SECONDS
            loop.outside(sent + delay, land)
        if met in {Fault.LATE, Fault.UNAVAILABLE, Fault.UNKNOWN}:
            await asyncio.sleep(2 * ONE_WAY_SECONDS)
            raise NoAnswer(str(met))
        try:
            async with asyncio.timeout(policy.REQUEST_SECONDS):
                return await answered
        except TimeoutError:
            raise NoAnswer("timed out") from None

    def _meets(self) -> Fault | None:
        random, weather = self._floor.random, self._floor.weather
        return random.choice(list(Fault)) if weather and random.random() < weather else None


def _order(bought: Bought) -> Order:
    fees = {"BTC": bought.fee}
    return Order(bought.client_id, str(bought.order_id), False, bought.filled, bought.spent, fees=fees)
