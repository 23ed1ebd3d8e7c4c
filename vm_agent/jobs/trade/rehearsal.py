"""What would be bought. Nothing here can place an order: it is given a Market, which has no way to one."""

from dataclasses import dataclass
from decimal import Decimal

from vm_agent.clock import Clock
from vm_agent.jobs.trade.buying import Plan, asked
from vm_agent.jobs.trade.market import Market, Rules
from vm_agent.jobs.trade.slices import check_price, cut


@dataclass(frozen=True)
class Rehearsed:
    """The costs of the slices, and what one coin costs now."""

    rules: Rules
    costs: tuple[Decimal, ...]
    price: Decimal


async def rehearse(plan: Plan, market: Market, clock: Clock) -> Rehearsed:
    """Everything that `buy` would check which does not need the account. TradeError."""
    rules = await asked(lambda: market.rules(plan.symbol), f"the rules of {plan.symbol}", clock)
    costs = cut(plan.spend, plan.slices, rules)
    price = await asked(lambda: market.price(plan.symbol), f"the price of {plan.symbol}", clock)
    check_price(price, costs[0], plan.max_price, rules)
    return Rehearsed(rules, costs, price)
