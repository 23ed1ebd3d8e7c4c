"""The trading job over the wire: real ccxt, and a small Binance on loopback that loses, delays and refuses."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.contract.agent_at_work import an_agent, at_work, finished, start, write_main
from tests.exchange.server import (
    API_KEY,
    API_SECRET,
    FIND,
    PLACE,
    ExchangeServer,
    Fault,
    Rule,
    an_exchange,
)
from vm_agent.job import Context
from vm_agent.jobs.trade import errors, policy, run
from vm_agent.jobs.trade.binance import BinanceMarket, Venue

BUY = {"symbol": "BTC/USDT", "spend": 20}


@pytest.fixture
async def exchange(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ExchangeServer]:
    """An exchange that listens, to which the environment leads; its faults must all have happened in the end."""
    async with an_exchange() as exchange:
        monkeypatch.setenv("EXCHANGE_EMULATOR_HOST", exchange.host)
        monkeypatch.setenv("EXCHANGE_API_KEY", API_KEY)
        monkeypatch.setenv("EXCHANGE_API_SECRET", API_SECRET)
        monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")  # nobody
        yield exchange


def a_run(folder: Path, mode: str = "run", attempt: int = 1, key: str = "monday", **params: Any) -> Context:
    return Context(BUY | params, mode, folder, run_key=key, attempt=attempt, progress_file=folder / "progress.json")


async def test_each_slice_is_one_order_and_the_result_tells_of_all(exchange: ExchangeServer, tmp_path: Path) -> None:
    result = await run(a_run(tmp_path, spend=50, slices=3))
    assert [order.cost for order in exchange.book.orders] == [Decimal("16.66"), Decimal("16.66"), Decimal("16.68")]
    assert result["spent"] == "49.5" == f"{1000 - exchange.book.balances['USDT']:.1f}"
    assert (result["filled"], result["average_price"], result["fees"]) == ("0.00099", "50000", {"BTC": "0.00000099"})
    assert [one["client_order_id"] for one in result["orders"]] == [one.client_id for one in exchange.book.orders]
    assert [one["state"] for one in result["orders"]] == ["placed"] * 3
    assert json.loads((tmp_path / "orders.json").read_text()) == result["orders"]
    assert json.loads((tmp_path / "progress.json").read_text())["fraction"] == 1


async def test_one_key_buys_once_however_often_it_is_run(exchange: ExchangeServer, tmp_path: Path) -> None:
    first = await run(a_run(tmp_path, slices=2))
    second = await run(a_run(tmp_path, slices=2, attempt=2))
    assert len(exchange.book.orders) == 2
    assert [one["state"] for one in second["orders"]] == ["found"] * 2
    assert {**second, "orders": 0} == {**first, "orders": 0}, "fees and prices are the same"
    await run(a_run(tmp_path, slices=2, key="tuesday"))
    assert (len(exchange.book.orders), exchange.book.placed_twice()) == (4, [])


async def test_an_attempt_after_one_that_died_between_slices_buys_the_rest(
    exchange: ExchangeServer, tmp_path: Path
) -> None:
    exchange.rules += [Rule(PLACE, Fault.HANGS)]
    first = asyncio.create_task(run(a_run(tmp_path, slices=3)))
    await exchange.has_placed()
    first.cancel()
    await asyncio.wait([first])
    [left] = json.loads((tmp_path / "orders.json").read_text())
    assert (left["state"], left["client_order_id"]) == ("sent", exchange.book.orders[0].client_id)
    result = await run(a_run(tmp_path, slices=3, attempt=2))
    assert [one["state"] for one in result["orders"]] == ["found", "placed", "placed"]
    assert (len(exchange.book.orders), exchange.book.placed_twice()) == (3, [])


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.UNSEEN])
async def test_whatever_befalls_the_placing_it_is_one_order(
    exchange: ExchangeServer, tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "REQUEST_SECONDS", 0.5)
    exchange.rules += [Rule(PLACE, fault)]
    result = await run(a_run(tmp_path))
    await exchange.landed()
    [order] = exchange.book.orders
    assert result["orders"][0]["order_id"] == str(order.order_id)
    assert exchange.count(PLACE) == (2 if fault in {Fault.LOST, Fault.UNKNOWN_UNDONE, Fault.BAD_GATEWAY} else 1)


async def test_a_look_up_that_lags_behind_does_not_make_a_second_order(
    exchange: ExchangeServer, tmp_path: Path
) -> None:
    exchange.rules += [
        Rule(PLACE, Fault.REPLY_LOST),
        Rule(FIND, Fault.UNSEEN, times=3),
    ]  # one before the placing, two after it
    await run(a_run(tmp_path))
    assert (len(exchange.book.orders), exchange.count(FIND)) == (1, 4)


async def test_a_placing_that_arrives_after_its_window_is_refused_and_the_next_one_is_the_only_order(
    exchange: ExchangeServer, tmp_path: Path
) -> None:
    exchange.rules += [Rule(PLACE, Fault.LATE, late_seconds=policy.LOCAL_RECV_WINDOW_SECONDS + 0.2)]
    await run(a_run(tmp_path))
    await exchange.landed()
    assert (len(exchange.book.orders), exchange.count(PLACE)) == (1, 2)


@pytest.mark.parametrize(("attempt", "orders"), [(2, 1), (1, 2)])
async def test_a_later_attempt_waits_for_what_the_dead_one_still_had_under_way(
    exchange: ExchangeServer, tmp_path: Path, attempt: int, orders: int
) -> None:
    """Told that it is the first one it would not: that is what the number of the attempt is for."""
    exchange.rules += [Rule(PLACE, Fault.LATE, late_seconds=0.8)]
    first = asyncio.create_task(run(a_run(tmp_path)))
    async with asyncio.timeout(30):
        while not exchange.count(PLACE):
            await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait([first])
    await run(a_run(tmp_path, attempt=attempt))
    await exchange.landed()
    assert len(exchange.book.orders) == orders


async def test_an_order_that_nobody_can_tell_of_is_named_in_the_failure(
    exchange: ExchangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "ORDER_UNKNOWN_SECONDS", 3)
    exchange.rules += [Rule(PLACE, Fault.REPLY_LOST)]
    running = asyncio.create_task(run(a_run(tmp_path)))
    await exchange.has_placed()
    exchange.rules += [Rule(FIND, Fault.BAD_GATEWAY, times=None)]
    with pytest.raises(errors.OrderUnknown, match=exchange.book.orders[0].client_id):
        await running
    assert exchange.count(PLACE) == 1


async def test_the_rehearsal_makes_no_private_request_and_reads_no_key(
    exchange: ExchangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXCHANGE_API_SECRET")
    result = await run(a_run(tmp_path, "test", spend=50, slices=3))
    assert (exchange.private, exchange.book.orders) == ([], [])
    assert [one.what for one in exchange.asked] == ["GET exchangeInfo", "GET ticker/24hr"]
    assert [one["cost"] for one in result["orders"]] == ["16.66", "16.66", "16.68"]
    assert (result["would_spend"], result["would_buy_about"], result["price"]) == ("50", "0.001", "50000")


async def test_what_the_rehearsal_is_given_has_no_verb_that_needs_an_account() -> None:
    market = BinanceMarket(Venue())
    verbs = {name for name in dir(market) if not name.startswith("_")}
    await market.close()
    assert verbs == {"rules", "price", "close"}


@pytest.mark.parametrize(
    ("params", "error", "says"),
    [
        ({"spend": 2000}, errors.TooLittleBalance, "The account has 1000 USDT, the rest of this purchase takes 2000"),
        ({"reserve": 990}, errors.TooLittleBalance, r"takes 20\.00, and 990 shall stay"),
        ({"slices": 5}, errors.BadSlices, "nothing below 5: cut 4 slices at most"),
        ({"symbol": "NOT/USDT"}, errors.NoSuchMarket, "Binance does not trade 'NOT/USDT'"),
        ({"max_price": "49999.99"}, errors.PriceTooHigh, "A BTC costs 50000 USDT now"),
        ({"symbol": "BTCUSDT"}, errors.BadParams, "Param 'symbol' cannot be 'BTCUSDT'"),
        ({"slice": 2}, errors.BadParams, "did you mean 'slices'"),
        ({"exchange": "mtgox"}, errors.BadParams, "Param 'exchange' cannot be 'mtgox'"),
    ],
)
async def test_a_purchase_that_cannot_be_says_why_and_places_nothing(
    exchange: ExchangeServer, tmp_path: Path, params: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await run(a_run(tmp_path, **params))
    assert exchange.count(PLACE) == 0


async def test_a_market_that_rests_is_told(exchange: ExchangeServer, tmp_path: Path) -> None:
    exchange.trading = False
    with pytest.raises(errors.NoSuchMarket, match="its status is BREAK"):
        await run(a_run(tmp_path))


async def test_a_refusal_of_a_later_slice_tells_what_was_bought_before(
    exchange: ExchangeServer, tmp_path: Path
) -> None:
    """Somebody else spends from the same account meanwhile."""
    running = asyncio.create_task(run(a_run(tmp_path, slices=2, pause_seconds=0.5)))
    await exchange.has_placed()
    exchange.book.balances["USDT"] = Decimal(1)
    with pytest.raises(errors.TooLittleBalance) as caught:
        await running
    [order] = exchange.book.orders
    assert f"Bought until then: 0.00020 in 1 orders ({order.client_id})" in str(caught.value)


async def test_a_key_that_is_not_for_this_address_is_told_with_the_address(
    exchange: ExchangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vm_agent.jobs.metadata.egress_ip", lambda: "203.0.113.7")
    exchange.allowed = False
    with pytest.raises(errors.WrongKey, match=r"Is 203\.0\.113\.7 on its list of addresses"):
        await run(a_run(tmp_path))


async def test_a_key_that_may_read_and_not_trade_is_told_at_once(exchange: ExchangeServer, tmp_path: Path) -> None:
    exchange.may_trade = False
    with pytest.raises(errors.WrongKey, match="Are its permissions right"):
        await run(a_run(tmp_path))
    assert exchange.count(PLACE) == 1


async def test_no_word_of_the_key_is_in_log_error_or_artifact(
    exchange: ExchangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXCHANGE_API_SECRET", "another-secret")
    with pytest.raises(errors.WrongKey, match="Signature for this request is not valid") as caught:
        await run(a_run(tmp_path))
    monkeypatch.setenv("EXCHANGE_API_SECRET", API_SECRET)
    await run(a_run(tmp_path))
    said = capsys.readouterr().out + str(caught.value) + (tmp_path / "orders.json").read_text()
    assert "sending order" in said
    assert not any(secret in said for secret in (API_KEY, API_SECRET, "another-secret", "signature="))


async def test_without_a_key_it_says_where_one_is_looked_for(
    exchange: ExchangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXCHANGE_API_KEY")
    with pytest.raises(errors.NoKey, match="EXCHANGE_API_KEY is not set, and no service account"):
        await run(a_run(tmp_path))


async def test_a_clock_that_is_off_by_a_minute_does_not_matter(exchange: ExchangeServer, tmp_path: Path) -> None:
    exchange.clock = lambda: time.time() - 60
    await run(a_run(tmp_path))
    assert len(exchange.book.orders) == 1


async def test_an_order_that_the_market_could_not_fill_is_a_warning(exchange: ExchangeServer, tmp_path: Path) -> None:
    exchange.book.on_offer = Decimal("0.0001")
    result = await run(a_run(tmp_path))
    assert (result["filled"], len(exchange.book.orders)) == ("0.0001", 1)
    assert result["warnings"] == ["The order of slice 1 bought for 5.0000 of 20.00: the market had no more on offer."]


async def test_without_a_run_key_nothing_is_bought(exchange: ExchangeServer, tmp_path: Path) -> None:
    with pytest.raises(errors.BadParams, match="no run key"):
        await run(a_run(tmp_path, key=""))
    assert exchange.private == []


async def test_a_purchase_that_is_cancelled_leaves_word_of_the_order_that_was_under_way(
    exchange: ExchangeServer, tmp_path: Path
) -> None:
    """By the agent, as a process: SIGTERM in the middle of a placing."""
    exchange.rules += [Rule(PLACE, Fault.HANGS)]
    write_main(tmp_path, "")
    async with at_work(an_agent(tmp_path)) as client:
        job = {"function": "vm_agent.jobs.trade:run"}
        run_id = (await start(client, key="monday", job=job, params=BUY)).json()["id"]
        await exchange.has_placed()
        await client.post(f"/runs/{run_id}/cancel")
        ended = await finished(client, run_id)
        [left] = (await client.get(f"/runs/{run_id}/artifacts/orders.json")).json()
    name = exchange.book.orders[0].client_id
    assert (left["state"], left["client_order_id"]) == ("sent", name)
    assert (ended["state"], ended["progress"]["message"]) == (
        "CANCELLED",
        f"slice 1 of 1: sending order {name} for 20.00",
    )
