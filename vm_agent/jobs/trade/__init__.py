"""Accumulate a coin by market orders, each of them placed once: the job `vm_agent.jobs.trade:run`.

    mayfly run vm_agent.jobs.trade:run --once-per 1d --set symbol=BTC/USDT --set spend=50

Params, keys, permissions and what happens when it is cut off: docs/trading.md. `errors` lists what can go wrong.
"""

import os
from datetime import timedelta
from typing import Any

from vm_agent.clock import MachineClock
from vm_agent.job import Context
from vm_agent.jobs import metadata
from vm_agent.jobs.trade.account import Account, as_rehearsal
from vm_agent.jobs.trade.buying import Buyer, Plan
from vm_agent.jobs.trade.credentials import read_credentials
from vm_agent.jobs.trade.errors import BadParams, MissingExtra, TradeError, WrongKey
from vm_agent.jobs.trade.params import Params, params_from
from vm_agent.jobs.trade.rehearsal import rehearse


async def run(context: Context) -> dict[str, Any]:
    """Buy. In rehearsal: what would be bought, by public prices and rules, with no key read and no account asked."""
    params = params_from(context.params)
    plan = _plan(params, context)
    return await (_rehearsed if context.rehearsal else _bought)(context, params, plan)


async def _rehearsed(context: Context, params: Params, plan: Plan) -> dict[str, Any]:
    binance, venue = _binance(params)
    market = binance.BinanceMarket(venue)
    try:
        rehearsed = await rehearse(plan, market, MachineClock())
    finally:
        await market.close()
    context.progress(1.0, "rehearsed")
    return as_rehearsal(plan, rehearsed)


async def _bought(context: Context, params: Params, plan: Plan) -> dict[str, Any]:
    if not plan.run_key:
        raise BadParams(
            "There is no run key to name the orders after: start this job by `mayfly run`, or by the agent."
        )
    binance, venue = _binance(params)
    exchange = binance.BinanceExchange(venue, binance.Key(*read_credentials(params.key_secret, params.secret_secret)))
    account = Account(context, plan.slices)
    try:
        rules = await Buyer(plan, exchange, MachineClock(), account.tell).buy()
    except TradeError as problem:
        raise type(problem)(f"{problem}{_from_where(problem)} {account.so_far()}") from None
    finally:
        await exchange.close()
    result = account.as_result(plan, rules)
    for warning in result["warnings"]:
        context.log(f"Warning: {warning}")
    return result


def _plan(params: Params, context: Context) -> Plan:
    pauses = timedelta(seconds=params.pause_seconds * (params.slices - 1))
    if context.deadline and MachineClock().now() + pauses > context.deadline:
        raise BadParams(f"The pauses alone take {pauses}, and the run has to end sooner: give it a longer --timeout.")
    return Plan(
        symbol=params.symbol,
        spend=params.spend,
        slices=params.slices,
        pause_seconds=params.pause_seconds,
        max_price=params.max_price,
        reserve=params.reserve,
        run_key=context.run_key,
        attempt=context.attempt,
    )


def _binance(params: Params) -> Any:
    """The module, late: ccxt takes a second to import, and is only where its extra is installed; and which Binance."""
    try:
        from vm_agent.jobs.trade import binance  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        library = (missing.name or "ccxt").partition(".")[0]
        raise MissingExtra(f"{library} is not installed here. Install the extra: mayfly[trade].") from missing
    return binance, binance.Venue(testnet=params.testnet, local=os.environ.get("EXCHANGE_EMULATOR_HOST") or None)


def _from_where(problem: TradeError) -> str:
    """Keys are bound to addresses, so a refused key is told with ours."""
    if not isinstance(problem, WrongKey):
        return ""
    ip = metadata.egress_ip()
    if ip is None:
        return " Are its permissions right, and is this machine's address on its list?"
    return f" Is {ip} on its list of addresses, and may it trade? This VM's requests come from there."
