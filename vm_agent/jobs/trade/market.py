"""What this job needs of an exchange: two ports, of which the rehearsal is given the first, and their words.

An amount is a Decimal: `spent` and `cost` in the quote currency (USDT of BTC/USDT), `filled` in the base currency.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol


class NoAnswer(Exception):
    """What became of the request is not known: no answer, one that breaks off, or one that says so itself."""


@dataclass(frozen=True)
class Rules:
    """What a market takes as a market order to buy, by its own word. None: it names no limit."""

    base: str  # the coin: BTC
    quote: str  # what is paid with: USDT
    cost_step: Decimal  # a cost is a multiple of it
    cost_min: Decimal | None = None
    cost_max: Decimal | None = None
    amount_min: Decimal | None = None


@dataclass(frozen=True)
class Order:
    """A market order to buy, as the exchange knows it."""

    client_id: str  # ours
    order_id: str  # the exchange's
    open: bool  # it may still fill
    filled: Decimal
    spent: Decimal
    cut_short: bool = False  # it ended before all of its cost was spent: nobody offered more
    fees: Mapping[str, Decimal] = field(default_factory=dict)  # by currency

    @property
    def average_price(self) -> Decimal | None:
        """What one coin cost."""
        return self.spent / self.filled if self.filled else None


class Market(Protocol):
    """What everybody may ask. It has no way to an account, and none to an order."""

    async def rules(self, symbol: str) -> Rules:
        """The market's rules. NoSuchMarket; NoAnswer."""

    async def price(self, symbol: str) -> Decimal:
        """What the cheapest coin on offer costs now. NoAnswer."""


class Exchange(Market, Protocol):
    """The same with an account."""

    @property
    def settled_seconds(self) -> float:
        """So long after a `place` without an answer, `find` knows its order, or there never will be one."""

    async def free(self, currency: str) -> Decimal:
        """What the account can spend. Refused; NoAnswer."""

    async def find(self, symbol: str, client_id: str) -> Order | None:
        """The order with this id of ours, open or not; None: the exchange knows none. Refused; NoAnswer."""

    async def place(self, symbol: str, client_id: str, cost: Decimal) -> Order:
        """Buy for `cost`, at once. Refused: nothing was placed. NoAnswer: perhaps. Twice is two orders."""
