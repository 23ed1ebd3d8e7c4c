"""A small spot exchange without wires: one market, one account, and Binance's rules for orders.

As at Binance, the client id of a filled order may be used again: whoever sends an order twice buys twice.
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal

STEP = Decimal("0.00001")  # LOT_SIZE
TICK = Decimal("0.01")  # PRICE_FILTER
MIN_NOTIONAL, MAX_NOTIONAL = Decimal(5), Decimal(9_000_000)
FEE = Decimal("0.001")


class Rejected(Exception):
    """An answer in Binance's own words: status, code, message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Bought:
    """One filled market order."""

    order_id: int
    client_id: str
    cost: Decimal  # as asked for
    filled: Decimal
    spent: Decimal
    price: Decimal
    status: str = "FILLED"

    @property
    def fee(self) -> Decimal:
        """In the coin."""
        return self.filled * FEE


@dataclass
class Book:
    """BTC/USDT, and what its one account has and has bought."""

    price: Decimal = Decimal(50_000)
    balances: dict[str, Decimal] = field(default_factory=lambda: {"USDT": Decimal(1000), "BTC": Decimal(0)})
    orders: list[Bought] = field(default_factory=list)
    on_offer: Decimal | None = None  # coins; None: as many as anybody wants

    def place(self, client_id: str, cost: Decimal) -> Bought:
        """Fill it at once. Rejected."""
        if cost < MIN_NOTIONAL or cost > MAX_NOTIONAL:
            raise Rejected(400, -1013, "Filter failure: NOTIONAL")
        if cost % TICK:
            raise Rejected(400, -1111, "Parameter 'quoteOrderQty' has too much precision.")
        if cost > self.balances["USDT"]:
            raise Rejected(400, -2010, "Account has insufficient balance for requested action.")
        filled = (cost / self.price).quantize(STEP, rounding=ROUND_DOWN)
        if not filled:
            raise Rejected(400, -1013, "Filter failure: LOT_SIZE")
        whole = self.on_offer is None or filled <= self.on_offer
        filled = filled if whole else self.on_offer or Decimal(0)
        number = len(self.orders) + 1
        status = "FILLED" if whole else "EXPIRED"
        bought = Bought(number, client_id, cost, filled, filled * self.price, self.price, status)
        self.orders.append(bought)
        self.balances["USDT"] -= bought.spent
        self.balances["BTC"] += bought.filled - bought.fee
        return bought

    def find(self, client_id: str) -> Bought | None:
        """The newest order of that name."""
        return next((order for order in reversed(self.orders) if order.client_id == client_id), None)

    def placed_twice(self) -> list[str]:
        """The names that more than one order has."""
        return [name for name, count in Counter(order.client_id for order in self.orders).items() if count > 1]
