"""Binance's spot market through ccxt: the only file that imports it.

ccxt is told to repeat nothing by itself, to ask for this one symbol and no other market, and to say numbers as the
exchange writes them. A request is signed with a time and a window (`recvWindow`), past which Binance refuses it: that
is what lets an order whose placing was not answered be known not to come any more.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt  # type: ignore[import-untyped]

from vm_agent.jobs.trade import policy
from vm_agent.jobs.trade.errors import NoSuchMarket, Refused, TooLittleBalance, WrongKey
from vm_agent.jobs.trade.market import NoAnswer, Order, Rules

_MAY_NOT = re.compile(r'"code": *-2015')  # "Invalid API-key, IP, or permissions for action."
_QUERY = re.compile(r"\?\S*")  # of an address in a message: it has the signature


@dataclass(frozen=True)
class Venue:
    """Which Binance: the one, its test network, or a server on this machine that speaks its language ("HOST:PORT")."""

    testnet: bool = False
    local: str | None = None

    @property
    def recv_window_seconds(self) -> float:
        """How long a signed request is good for."""
        return policy.LOCAL_RECV_WINDOW_SECONDS if self.local else policy.RECV_WINDOW_SECONDS

    @property
    def settled_seconds(self) -> float:
        """How long until a request has either landed where look-ups find it, or is refused."""
        lag = policy.LOCAL_LOOK_UP_LAG_SECONDS if self.local else policy.LOOK_UP_LAG_SECONDS
        return self.recv_window_seconds + policy.AHEAD_SECONDS + lag


@dataclass(frozen=True)
class Key:
    """What signs for an account."""

    key: str
    secret: str

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Key(...)"


class BinanceMarket:
    """The port Market: without a key, and without a verb that needs one."""

    def __init__(self, venue: Venue) -> None:
        self._client = _client(venue, {})

    async def rules(self, symbol: str) -> Rules:
        """Ask for this symbol's alone: all of them are 15 MB."""
        with _speaking_our_errors(symbol):
            await self._client.load_markets(params={"symbol": symbol.replace("/", "")})
            market = self._client.market(symbol)
        if not market["active"] or not market["info"].get("quoteOrderQtyMarketAllowed"):
            raise NoSuchMarket(f"{symbol} takes no market orders now; its status is {market['info'].get('status')}.")
        limits = market["limits"]
        return Rules(
            base=market["base"],
            quote=market["quote"],
            cost_step=Decimal(market["precision"]["price"]),  # ccxt cuts a cost off there
            cost_min=_decimal(limits["cost"]["min"]),
            cost_max=_decimal(limits["cost"]["max"]),
            amount_min=_decimal(limits["amount"]["min"]),
        )

    async def price(self, symbol: str) -> Decimal:
        """The lowest ask."""
        with _speaking_our_errors(symbol):
            ask = (await self._client.fetch_ticker(symbol))["ask"]
        if not ask or not Decimal(ask):
            raise NoAnswer(f"nobody offers {symbol}")
        return Decimal(ask)

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()


class BinanceExchange(BinanceMarket):
    """The port Exchange."""

    def __init__(self, venue: Venue, key: Key) -> None:
        self._client = _client(venue, {"apiKey": key.key, "secret": key.secret})
        self._venue = venue

    @property
    def settled_seconds(self) -> float:
        """See Venue."""
        return self._venue.settled_seconds

    async def free(self, currency: str) -> Decimal:
        """Of the spot account."""
        with _speaking_our_errors():
            balances = await self._client.fetch_balance()
        return _decimal(balances["free"].get(currency)) or Decimal(0)

    async def find(self, symbol: str, client_id: str) -> Order | None:
        """The order, with the fees of its trades, which Binance does not tell with it."""
        with _speaking_our_errors(symbol):
            try:
                raw = await self._client.fetch_order("", symbol, {"origClientOrderId": client_id})
            except ccxt.OrderNotFound:
                return None
            if raw["status"] != "open" and Decimal(raw["filled"]):
                raw["trades"] = await self._client.fetch_order_trades(raw["id"], symbol)
        return _order(raw)

    async def place(self, symbol: str, client_id: str, cost: Decimal) -> Order:
        """POST /api/v3/order with quoteOrderQty: so much money, whatever the amount."""
        with _speaking_our_errors(symbol):
            return _order(
                await self._client.create_market_buy_order_with_cost(
                    symbol, f"{cost:f}", {"newClientOrderId": client_id}
                )
            )


def _client(venue: Venue, credentials: Mapping[str, str]) -> Any:
    client = ccxt.binance(
        {
            **credentials,
            "timeout": int(policy.REQUEST_SECONDS * 1000),
            "options": {
                "defaultType": "spot",
                "fetchMarkets": {"types": ["spot"]},
                "fetchMargins": False,
                "recvWindow": int(venue.recv_window_seconds * 1000),
                "adjustForTimeDifference": bool(credentials),  # a VM's clock may be off by more than the window
                "maxRetriesOnFailure": 0,  # an order must not be sent again by those who cannot look for it first
            },
        }
    )
    client.number = str
    client.has["fetchCurrencies"] = False  # deposits and withdrawals: the key needs no right to them
    if venue.testnet:
        client.set_sandbox_mode(True)
    if venue.local:
        client.urls["api"] = dict.fromkeys(("public", "private"), f"http://{venue.local}/api/v3")
    return client


def _order(raw: Mapping[str, Any]) -> Order:
    fees: dict[str, Decimal] = {}
    for trade in raw["trades"]:
        if fee := trade.get("fee"):
            fees[fee["currency"]] = fees.get(fee["currency"], Decimal(0)) + Decimal(fee["cost"])
    return Order(
        client_id=raw["clientOrderId"],
        order_id=raw["id"],
        open=raw["status"] == "open",
        cut_short=raw["status"] not in {"open", "closed"},
        filled=Decimal(raw["filled"]),
        spent=Decimal(raw["cost"]),
        fees=fees,
    )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


@contextmanager
def _speaking_our_errors(symbol: str = "") -> Iterator[None]:
    """Only what is surely a no is Refused; all else may have been done all the same.

    Causes are left out: ccxt's messages have the whole signed address in them.
    """
    try:
        yield
    except ccxt.BadSymbol as no:
        raise NoSuchMarket(f"Binance does not trade {symbol!r}: {_said(no)}. Write it as BTC/USDT.") from None
    except ccxt.InsufficientFunds as no:
        raise TooLittleBalance(f"Binance refuses the order: {_said(no)}.") from None
    except (ccxt.AuthenticationError, ccxt.DDoSProtection) as no:
        # Of a key that was good for another request ccxt says that it is shut out for a while: it may not do this one.
        if isinstance(no, ccxt.DDoSProtection) and not _MAY_NOT.search(str(no)):
            raise NoAnswer(_said(no)) from None
        raise WrongKey(f"Binance does not accept the API key: {_said(no)}.") from None
    except (ccxt.DuplicateOrderId, ccxt.InvalidNonce, ccxt.RateLimitExceeded) as unclear:
        raise NoAnswer(_said(unclear)) from None  # there is one of that name; or: came too late; or: came too often
    except (ccxt.InvalidOrder, ccxt.BadRequest, ccxt.OperationRejected, ccxt.NotSupported) as no:
        raise Refused(f"Binance refuses this: {_said(no)}.") from None
    except ccxt.BaseError as unclear:
        raise NoAnswer(_said(unclear)) from None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {_QUERY.sub('', str(error))}".rstrip(". ")
