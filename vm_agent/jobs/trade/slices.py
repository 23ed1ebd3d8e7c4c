"""Judgement without the exchange: what an order is called, and how the money is cut."""

import base64
import hashlib
from decimal import ROUND_DOWN, Decimal

from vm_agent.jobs.trade.errors import BadSlices, PriceTooHigh
from vm_agent.jobs.trade.market import Rules

_PREFIX = "mayfly-"  # 7 characters for whoever reads the order book
_DIGEST_BYTES = 16  # 26 characters of base32; Binance takes 36: ^[a-zA-Z0-9-_]{1,36}$


def client_order_id(run_key: str, slice_number: int) -> str:
    """What the order of this slice is called, in every attempt of the run: never a word about the attempt in it."""
    digest = hashlib.sha256(f"{run_key}\n{slice_number}".encode()).digest()[:_DIGEST_BYTES]
    return _PREFIX + base64.b32encode(digest).decode("ascii").rstrip("=").lower()


def cut(spend: Decimal, slices: int, rules: Rules) -> tuple[Decimal, ...]:
    """The cost of each slice: equal but for the last, which takes what the steps of the market leave. BadSlices."""
    if spend % rules.cost_step:
        raise BadSlices(f"Param 'spend' is {spend:f}, and this market counts {rules.quote} in {rules.cost_step:f}.")
    each = (spend / slices).quantize(rules.cost_step, rounding=ROUND_DOWN)
    least = rules.cost_min or rules.cost_step
    if each < least:
        raise BadSlices(
            f"Each of {slices} slices would be {each:f} {rules.quote}, and the market takes nothing below {least:f}: "
            f"{_at_most(int(spend / least), spend, rules.quote)}."
        )
    last = spend - each * (slices - 1)
    if rules.cost_max is not None and last > rules.cost_max:
        raise BadSlices(f"A slice of {last:f} {rules.quote} is above the market's {rules.cost_max:f}: cut more slices.")
    return (*[each] * (slices - 1), last)


def check_price(price: Decimal, cost: Decimal, max_price: Decimal | None, rules: Rules) -> None:
    """PriceTooHigh; BadSlices if so little money buys less of the coin than the market sells."""
    if max_price is not None and price > max_price:
        raise PriceTooHigh(f"A {rules.base} costs {price:f} {rules.quote} now, and max_price is {max_price:f}.")
    if rules.amount_min is not None and cost / price < rules.amount_min:
        raise BadSlices(
            f"{cost:f} {rules.quote} buys less than the smallest amount, {rules.amount_min:f} {rules.base}, "
            f"at a price of {price:f}: cut fewer slices, or spend more."
        )


def _at_most(slices: int, spend: Decimal, quote: str) -> str:
    return f"cut {slices} slices at most" if slices else f"{spend:f} {quote} is too little"
