"""The part of Binance's spot REST API that a purchase touches, on loopback, with faults that count themselves."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.exchange.book import FEE, MAX_NOTIONAL, MIN_NOTIONAL, STEP, TICK, Book, Bought, Rejected

API_KEY, API_SECRET = "the-exchange-key", "the-exchange-secret"
SYMBOL = "BTCUSDT"
PATIENCE_SECONDS = 60  # for what takes moments; only a failing test waits as long
PLACE, FIND = "POST order", "GET order"


class Fault(StrEnum):
    """What can happen to a request."""

    LOST = "lost"  # the connection breaks before anything is done
    REPLY_LOST = "reply-lost"  # done, and then the connection breaks
    LATE = "late"  # the connection breaks, and the request lands all the same, some time later
    HANGS = "hangs"  # done, and never answered
    UNKNOWN = "unknown"  # done, and answered with -1007: "execution status unknown"
    UNKNOWN_UNDONE = "unknown-undone"  # not done, and answered with -1006, which says the same
    BAD_GATEWAY = "bad-gateway"  # not done
    BAD_GATEWAY_DONE = "bad-gateway-done"  # done
    UNSEEN = "unseen"  # of a look-up: "Order does not exist", because it is answered by a replica that lags


@dataclass
class Rule:
    """The next `times` requests of that kind meet this."""

    on: str  # "POST order"
    fault: Fault
    times: int | None = 1  # None: every one
    late_seconds: float = 0.3


@dataclass
class Asked:
    """One request as it came."""

    what: str  # "GET exchangeInfo"
    signed: bool
    key: str | None


@dataclass
class ExchangeServer:
    """One of them, while it listens."""

    book: Book = field(default_factory=Book)
    rules: list[Rule] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    allowed: bool = True  # whether the caller's address is on the key's list
    may_trade: bool = True  # the key has the permission
    trading: bool = True  # the market is open
    host: str = ""
    clock: Callable[[], float] = time.time
    _placed: asyncio.Event = field(default_factory=asyncio.Event)
    _late: set[asyncio.Task[None]] = field(default_factory=set)

    def count(self, what: str) -> int:
        """How often that was asked."""
        return sum(one.what == what for one in self.asked)

    @property
    def private(self) -> list[str]:
        """Whatever came with a key or a signature."""
        return [one.what for one in self.asked if one.signed or one.key]

    async def has_placed(self) -> None:
        """Return once there is an order."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._placed.wait()

    def unspent(self) -> list[Rule]:
        """The faults that never happened."""
        return [rule for rule in self.rules if rule.times]  # None is never spent, and need not be

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, and what befalls it."""
        body = await request.text()
        what = f"{request.method} {request.path.removeprefix('/api/v3/')}"
        given = dict(parse_qsl(request.query_string + body))
        self.asked.append(Asked(what, "signature" in given, request.headers.get("X-MBX-APIKEY")))
        rule = next((one for one in self.rules if one.on == what and one.times != 0), None)
        if rule is None:
            return self._answer(request, body, what)
        if rule.times is not None:
            rule.times -= 1
        return await self._meet(rule, request, body, what)

    async def _meet(self, rule: Rule, request: web.Request, body: str, what: str) -> web.StreamResponse:
        match rule.fault:
            case Fault.LATE:
                task = asyncio.create_task(self._land(rule.late_seconds, request, body, what))
                self._late.add(task)
            case Fault.UNSEEN:
                return _error(Rejected(400, -2013, "Order does not exist."))
            case Fault.UNKNOWN_UNDONE:
                return _error(Rejected(500, -1006, "An unexpected response was received from the message bus."))
            case Fault.BAD_GATEWAY:
                return web.Response(status=502, text="<html>bad gateway</html>", content_type="text/html")
            case Fault.REPLY_LOST | Fault.HANGS | Fault.UNKNOWN | Fault.BAD_GATEWAY_DONE:
                self._answer(request, body, what)
        if rule.fault is Fault.UNKNOWN:
            return _error(Rejected(504, -1007, "Timeout waiting for response from backend server."))
        if rule.fault is Fault.BAD_GATEWAY_DONE:
            return web.Response(status=502, text="<html>bad gateway</html>", content_type="text/html")
        if rule.fault is Fault.HANGS:
            await asyncio.Event().wait()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _land(self, seconds: float, request: web.Request, body: str, what: str) -> None:
        await asyncio.sleep(seconds)
        self._answer(request, body, what)

    async def landed(self) -> None:
        """Return once nothing is on its way any more."""
        await asyncio.gather(*self._late)

    def _answer(self, request: web.Request, body: str, what: str) -> web.Response:
        try:
            given = dict(parse_qsl(request.query_string + body))
            if what in _PRIVATE:
                self._authenticate(request, body, given)
                return web.json_response(_PRIVATE[what](self, given))
            if what in _PUBLIC:
                return web.json_response(_PUBLIC[what](self, given))
        except Rejected as no:
            return _error(no)
        return _error(Rejected(404, -1, f"this exchange does not know {what}"))

    def _authenticate(self, request: web.Request, body: str, given: Mapping[str, str]) -> None:
        if request.headers.get("X-MBX-APIKEY") != API_KEY or not self.allowed:
            raise Rejected(401, -2015, "Invalid API-key, IP, or permissions for action.")
        if request.method == "POST" and not self.may_trade:
            raise Rejected(401, -2015, "Invalid API-key, IP, or permissions for action.")
        signed, _, signature = (request.query_string + body).rpartition("&signature=")
        if signature != hmac.new(API_SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest():
            raise Rejected(400, -1022, "Signature for this request is not valid.")
        now, sent = self.clock() * 1000, int(given["timestamp"])
        if not (sent < now + 1000 and now - sent <= int(given.get("recvWindow", 5000))):
            raise Rejected(400, -1021, "Timestamp for this request is outside of the recvWindow.")

    def exchange_info(self, given: Mapping[str, str]) -> Any:
        """The rules."""
        if given.get("symbol") != SYMBOL:
            raise Rejected(400, -1121, "Invalid symbol.")
        return {"timezone": "UTC", "serverTime": int(self.clock() * 1000), "rateLimits": [], "exchangeFilters": [],
                "symbols": [_symbol("TRADING" if self.trading else "BREAK")]}  # fmt: skip

    def ticker(self, given: Mapping[str, str]) -> Any:
        """The price."""
        assert given["symbol"] == SYMBOL
        bid, ask = f"{self.book.price - TICK:f}", f"{self.book.price:f}"
        return {"symbol": SYMBOL, "lastPrice": ask, "bidPrice": bid, "askPrice": ask, "closeTime": 1, "openTime": 0}

    def account(self, _: Mapping[str, str]) -> Any:
        """The balances."""
        free = [{"asset": asset, "free": f"{amount:f}", "locked": "0"} for asset, amount in self.book.balances.items()]
        return {"accountType": "SPOT", "canTrade": True, "balances": free, "permissions": ["SPOT"]}

    def place(self, given: Mapping[str, str]) -> Any:
        """A market order by what it may cost."""
        if (given["symbol"], given["side"], given["type"]) != (SYMBOL, "BUY", "MARKET") or "quantity" in given:
            raise Rejected(400, -1102, f"not what a purchase sends: {sorted(given)}")
        bought = self.book.place(given["newClientOrderId"], Decimal(given["quoteOrderQty"]))
        self._placed.set()
        half = (bought.filled / 2).quantize(STEP)
        price = f"{bought.price:f}"
        fills = [
            {"price": price, "qty": f"{part:f}", "commission": f"{part * FEE:f}", "commissionAsset": "BTC"}
            for part in (half, bought.filled - half)
            if part
        ]
        return {**_order(bought), "fills": fills, "transactTime": 1}

    def find(self, given: Mapping[str, str]) -> Any:
        """One order by our name."""
        bought = self.book.find(given["origClientOrderId"])
        if bought is None:
            raise Rejected(400, -2013, "Order does not exist.")
        return {**_order(bought), "time": 1, "updateTime": 1, "isWorking": True}

    def trades(self, given: Mapping[str, str]) -> Any:
        """The fills of one order."""
        return [
            {"symbol": SYMBOL, "id": order.order_id, "orderId": order.order_id, "price": f"{order.price:f}",
             "qty": f"{order.filled:f}", "quoteQty": f"{order.spent:f}", "commission": f"{order.fee:f}",
             "commissionAsset": "BTC", "time": 1, "isBuyer": True, "isMaker": False, "isBestMatch": True}
            for order in self.book.orders if order.order_id == int(given["orderId"])
        ]  # fmt: skip

    def server_time(self, _: Mapping[str, str]) -> Any:
        """Its clock."""
        return {"serverTime": int(self.clock() * 1000)}


_PUBLIC: Mapping[str, Callable[[ExchangeServer, Mapping[str, str]], Any]] = {
    "GET exchangeInfo": ExchangeServer.exchange_info,
    "GET ticker/24hr": ExchangeServer.ticker,
    "GET time": ExchangeServer.server_time,
}
_PRIVATE: Mapping[str, Callable[[ExchangeServer, Mapping[str, str]], Any]] = {
    "GET account": ExchangeServer.account,
    "GET myTrades": ExchangeServer.trades,
    PLACE: ExchangeServer.place,
    FIND: ExchangeServer.find,
}


@asynccontextmanager
async def an_exchange(**options: Any) -> AsyncIterator[ExchangeServer]:
    """One that listens until the block ends, by when all its faults must have happened."""
    exchange = ExchangeServer(**options)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", exchange.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    exchange.host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield exchange
        await exchange.landed()
        assert exchange.unspent() == [], "a fault never happened"
    finally:
        await runner.cleanup()


def _order(bought: Bought) -> dict[str, Any]:
    return {
        "symbol": SYMBOL, "orderId": bought.order_id, "orderListId": -1, "clientOrderId": bought.client_id,
        "price": "0.00000000", "origQty": f"{bought.filled:f}", "executedQty": f"{bought.filled:f}",
        "origQuoteOrderQty": f"{bought.cost:f}", "cummulativeQuoteQty": f"{bought.spent:f}", "status": bought.status,
        "timeInForce": "GTC", "type": "MARKET", "side": "BUY",
    }  # fmt: skip


def _symbol(status: str) -> dict[str, Any]:
    return {
        "symbol": SYMBOL, "status": status, "baseAsset": "BTC", "baseAssetPrecision": 8, "quoteAsset": "USDT",
        "quotePrecision": 8, "quoteAssetPrecision": 8, "orderTypes": ["LIMIT", "MARKET"],
        "quoteOrderQtyMarketAllowed": True, "isSpotTradingAllowed": True, "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": f"{TICK:f}"},
            {"filterType": "LOT_SIZE", "minQty": f"{STEP:f}", "maxQty": "9000.00000000", "stepSize": f"{STEP:f}"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "120.0", "stepSize": "0.00000000"},
            {"filterType": "NOTIONAL", "minNotional": f"{MIN_NOTIONAL:f}", "applyMinToMarket": True,
             "maxNotional": f"{MAX_NOTIONAL:f}", "applyMaxToMarket": False, "avgPriceMins": 5},
        ],
    }  # fmt: skip


def _error(no: Rejected) -> web.Response:
    return web.json_response({"code": no.code, "msg": no.message}, status=no.status)
