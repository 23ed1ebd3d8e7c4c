"""What is told of a purchase: line by line, in the artifact `orders.json`, and as the result."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from vm_agent.job import Context
from vm_agent.jobs.trade.buying import Plan, Step
from vm_agent.jobs.trade.market import Rules
from vm_agent.jobs.trade.rehearsal import Rehearsed
from vm_agent.jobs.trade.slices import client_order_id

ORDERS = "orders.json"


class Account:
    """Keeps the steps of one purchase. Each is written before the next is taken: an order may be the last act."""

    def __init__(self, context: Context, slices: int) -> None:
        self._context, self._slices = context, slices
        self._steps: dict[int, Step] = {}

    def tell(self, step: Step) -> None:
        """An order is about to be sent, or has been filled."""
        self._steps[step.number] = step
        self._write()
        self._context.log(_line(step))
        bought = sum(1 for one in self._steps.values() if one.order)
        self._context.progress(bought / self._slices, f"slice {step.number} of {self._slices}: {_line(step)}")

    def so_far(self) -> str:
        """A sentence for the end of an error."""
        orders = [step.order for step in self._steps.values() if step.order]
        if not orders:
            return "Nothing was bought."
        names = ", ".join(order.client_id for order in orders)
        return f"Bought until then: {_sum(order.filled for order in orders)} in {len(orders)} orders ({names})."

    def as_result(self, plan: Plan, rules: Rules) -> dict[str, Any]:
        """The receipt's result; amounts are strings, because JSON's numbers are rounded by who reads them."""
        orders = [step.order for step in self._steps.values() if step.order]
        filled, spent = _sum(order.filled for order in orders), _sum(order.spent for order in orders)
        fees: dict[str, Decimal] = {}
        for order in orders:
            for currency, fee in order.fees.items():
                fees[currency] = fees.get(currency, Decimal(0)) + fee
        return {
            "symbol": plan.symbol,
            "filled": _text(filled),
            "filled_currency": rules.base,
            "spent": _text(spent),
            "spent_currency": rules.quote,
            "average_price": _text(_average(spent, filled)),
            "fees": {currency: _text(fee) for currency, fee in fees.items()},
            "orders": [_as_json(step) for step in self._steps.values()],
            "warnings": [
                f"The order of slice {step.number} bought for {step.order.spent:f} of {step.cost:f}: "
                "the market had no more on offer."
                for step in self._steps.values()
                if step.order and step.order.cut_short
            ],
        }

    def _write(self) -> None:
        """The whole file or none of it."""
        draft = self._context.artifacts / f".{ORDERS}.part"
        steps = json.dumps([_as_json(step) for step in self._steps.values()], indent=1)
        draft.write_text(f"{steps}\n", encoding="utf-8")
        draft.replace(self._context.artifacts / ORDERS)


def as_rehearsal(plan: Plan, rehearsed: Rehearsed) -> dict[str, Any]:
    """What `mayfly test` shows."""
    rules, price = rehearsed.rules, rehearsed.price
    return {
        "symbol": plan.symbol,
        "rehearsal": "nothing was bought; the account was not asked",
        "price": _text(price),
        "would_spend": _text(sum(rehearsed.costs, Decimal(0))),
        "would_spend_currency": rules.quote,
        "would_buy_about": _text((sum(rehearsed.costs, Decimal(0)) / price).quantize(Decimal("1e-8"))),
        "would_buy_currency": rules.base,
        "orders": [
            {"slice": number, "client_order_id": client_order_id(plan.run_key, number), "cost": _text(cost)}
            for number, cost in enumerate(rehearsed.costs, 1)
        ],
    }


def _as_json(step: Step) -> Mapping[str, Any]:
    order = step.order
    known = {"slice": step.number, "client_order_id": step.client_id, "cost": _text(step.cost)}
    if order is None:
        return known | {"state": "sent"}
    return known | {
        "state": "found" if step.found else "placed",
        "order_id": order.order_id,
        "filled": _text(order.filled),
        "spent": _text(order.spent),
        "average_price": _text(_average(order.spent, order.filled)),
        "fees": {currency: _text(fee) for currency, fee in order.fees.items()},
    }


def _line(step: Step) -> str:
    if step.order is None:
        return f"sending order {step.client_id} for {step.cost:f}"
    had = " (placed before, and found)" if step.found else ""
    return f"order {step.client_id} bought {step.order.filled:f} for {step.order.spent:f}{had}"


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))


def _average(spent: Decimal, filled: Decimal) -> Decimal | None:
    return (spent / filled).quantize(Decimal("1e-8")) if filled else None


def _text(amount: Decimal | None) -> str | None:
    """Without an exponent, and without the zeros behind it."""
    if amount is None:
        return None
    text = f"{amount:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
