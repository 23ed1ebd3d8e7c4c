"""Each slice is bought once, whatever gets lost: an order is looked for by its name before it is placed.

    known? ──yes──> count it        placed, and no answer ──> look until the exchange knows it, or has settled
      no                                                      knows it: count it · settled: place again · else: say so
      └── balance, price, place

The name of an order holds the run key and the slice, never the attempt: what an attempt before this one has placed
is found, also if it died without a word. Binance itself would not refuse the second order of one name: "Orders with
the same newClientOrderID can be accepted only when the previous one is filled, otherwise the order will be rejected"
(its REST API, POST /api/v3/order), and a market order is filled at once.
So the look before is what protects; and since a request may be under way when its sender dies, an attempt after the
first one believes "there is none" only once that request has either landed or expired (`settled_seconds`).
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from vm_agent.clock import Clock
from vm_agent.jobs.trade import policy
from vm_agent.jobs.trade.errors import OrderUnknown, Refused, TooLittleBalance, Unreachable
from vm_agent.jobs.trade.market import Exchange, NoAnswer, Order, Rules
from vm_agent.jobs.trade.slices import check_price, client_order_id, cut

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What to buy."""

    symbol: str
    spend: Decimal  # all slices together, in the quote currency
    slices: int = 1
    pause_seconds: float = 0.0
    max_price: Decimal | None = None
    reserve: Decimal = Decimal(0)  # what has to stay on the account
    run_key: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class Step:
    """What is told of a slice: that its order is about to be sent, or what became of it."""

    number: int  # from 1
    client_id: str
    cost: Decimal
    order: Order | None = None  # None: about to be sent
    found: bool = False  # it had been placed before, and was found by its name


Tell = Callable[[Step], None]


class Buyer:
    """Carries out one plan."""

    def __init__(self, plan: Plan, exchange: Exchange, clock: Clock, tell: Tell) -> None:
        self._plan, self._exchange, self._clock, self._tell = plan, exchange, clock, tell
        self._settled = plan.attempt == 1  # nothing of an earlier attempt can still be under way
        self._began = clock.uptime()

    async def buy(self) -> Rules:
        """Buy all slices, one after the other. TradeError; what was bought until then has been told."""
        plan = self._plan
        rules = await self._asked(lambda: self._exchange.rules(plan.symbol), f"the rules of {plan.symbol}")
        costs = cut(plan.spend, plan.slices, rules)
        fresh = False
        for number, cost in enumerate(costs, 1):
            if fresh:
                await self._clock.sleep(plan.pause_seconds)
            client_id = client_order_id(plan.run_key, number)
            order = await self._known(client_id)
            fresh = order is None
            if order is None:
                await self._check(rules, cost, left=sum(costs[number - 1 :]))
                order = await self._placed(Step(number, client_id, cost))
            self._tell(Step(number, client_id, cost, await self._ended(order), found=not fresh))
        return rules

    async def _known(self, client_id: str) -> Order | None:
        """The order that an earlier attempt has placed. None: none has, and none of theirs can come any more."""
        order = await self._look(client_id)
        if order is None and not self._settled:
            await self._clock.sleep(max(0.0, self._began + self._exchange.settled_seconds - self._clock.uptime()))
            self._settled = True
            order = await self._look(client_id)
        return order

    async def _check(self, rules: Rules, cost: Decimal, left: Decimal | int) -> None:
        """Everything that can be known to fail before the order is sent."""
        plan = self._plan
        price = await self._asked(lambda: self._exchange.price(plan.symbol), f"the price of {plan.symbol}")
        check_price(price, cost, plan.max_price, rules)
        free = await self._asked(lambda: self._exchange.free(rules.quote), "the balance")
        if free < left + plan.reserve:
            kept = f", and {plan.reserve:f} shall stay" if plan.reserve else ""
            raise TooLittleBalance(
                f"The account has {free:f} {rules.quote}, the rest of this purchase takes {left:f}{kept}."
            )

    async def _placed(self, step: Step) -> Order:
        """The slice's order, placed now."""
        for _ in range(policy.PLACINGS_MAX):
            self._tell(step)
            try:
                return await self._exchange.place(self._plan.symbol, step.client_id, step.cost)
            except NoAnswer as silence:
                if order := await self._what_became_of(step.client_id):
                    return order
                last = silence
        raise Unreachable(
            f"The order {step.client_id} was sent {policy.PLACINGS_MAX} times, and none of them arrived: {last}."
        )

    async def _what_became_of(self, client_id: str) -> Order | None:
        """An order whose placing was not answered. None: it never arrived, and never will. OrderUnknown."""
        sent = self._clock.uptime()
        settled, patience = sent + self._exchange.settled_seconds, sent + policy.ORDER_UNKNOWN_SECONDS
        why, pauses = None, _pauses()
        while self._clock.uptime() < patience:
            late = self._clock.uptime() >= settled  # when the question is asked, not when it is answered
            try:
                order = await self._exchange.find(self._plan.symbol, client_id)
            except (NoAnswer, Refused) as problem:
                why = str(problem)
            else:
                if order or late:
                    return order
            await self._clock.sleep(next(pauses))
        raise OrderUnknown(
            f"The order {client_id} for {self._plan.symbol} was sent, and whether it was placed is not known: {why}. "
            "Look for it at the exchange by this client order id before you buy again."
        )

    async def _ended(self, order: Order) -> Order:
        """The order once nothing more will fill."""
        until, pauses = self._clock.uptime() + policy.ORDER_UNKNOWN_SECONDS, _pauses()
        while order.open:
            if self._clock.uptime() > until:
                raise OrderUnknown(f"The order {order.client_id} is still open. Look at it at the exchange.")
            await self._clock.sleep(next(pauses))
            order = await self._look(order.client_id) or order
        return order

    async def _look(self, client_id: str) -> Order | None:
        return await self._asked(lambda: self._exchange.find(self._plan.symbol, client_id), f"the order {client_id}")

    async def _asked(self, question: Callable[[], Awaitable[T]], about: str) -> T:
        return await asked(question, about, self._clock)


async def asked(question: Callable[[], Awaitable[T]], about: str, clock: Clock) -> T:
    """The answer to what may be asked any number of times. Unreachable; Refused."""
    until, pauses = clock.uptime() + policy.ASK_SECONDS, _pauses()
    while True:
        try:
            return await question()
        except NoAnswer as silence:
            if clock.uptime() >= until:
                raise Unreachable(f"The exchange does not tell {about}: {silence}.") from silence
        await clock.sleep(next(pauses))


def _pauses() -> Iterator[float]:
    """Seconds between two questions: ever longer, because who asks too often is shut out for longer."""
    pause = policy.ASK_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, policy.ASK_PAUSE_SECONDS_MAX)
