"""A purchase on a rented VM is made once: the exchange's own book says so, whatever was doubled, killed or retried."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gcp_emulator.seed import SecretSeed, Seed
from orchestrator.run import Outcome
from tests.exchange.server import API_KEY, API_SECRET, PLACE, ExchangeServer, Fault, Rule, an_exchange
from tests.journeys.command import mayfly
from tests.journeys.lab import Lab, a_lab, a_world, starts_the_agent
from tests.journeys.making import MakingLab, a_making_lab, a_world_with_a_template
from tests.journeys.test_run_key import DEAD_HAND, HASTY, kill, tries
from vm_agent.protocol import Mode

JOB = "vm_agent.jobs.trade:run"
BUY = {"symbol": "BTC/USDT", "spend": 40, "slices": 2}


@pytest.fixture
async def exchange() -> AsyncIterator[ExchangeServer]:
    async with an_exchange() as exchange:
        yield exchange


@pytest.fixture
async def lab(tmp_path: Path, exchange: ExchangeServer) -> AsyncIterator[Lab]:
    """Its VM trades at that exchange, with a key from Secret Manager."""
    async with a_lab(tmp_path / "disks", with_the_key(a_world(script_of(exchange)))) as lab:
        yield lab
        await lab.all_is_well()
        assert exchange.book.placed_twice() == []


def script_of(exchange: ExchangeServer) -> str:
    return starts_the_agent(EXCHANGE_EMULATOR_HOST=exchange.host)


def with_the_key(world: Seed) -> Seed:
    secrets = {"mayfly-exchange-key": API_KEY, "mayfly-exchange-secret": API_SECRET}
    seeded = (SecretSeed(name, versions=(value,)) for name, value in secrets.items())
    return replace(world, secrets=(*world.secrets, *seeded))


async def test_a_purchase_is_one_order_for_each_slice_and_a_doubled_tick_is_answered_from_memory(
    lab: Lab, exchange: ExchangeServer, tmp_path: Path
):
    """As a person types it, in a process of its own."""
    order = ("run", JOB, "--once-per", "1d", "--set", "symbol=BTC/USDT", "--set", "spend=40", "--set", "slices=2")
    first = await mayfly(lab, tmp_path / "home", *order, "--out", str(tmp_path / "out"))
    assert first.code == 0, first.said
    assert (first.receipt["result"]["filled"], first.receipt["result"]["spent"]) == ("0.0008", "40")
    told = [one["client_order_id"] for one in first.receipt["result"]["orders"]]
    assert told == [one.client_id for one in exchange.book.orders]
    assert "orders.json" in {file["path"] for file in first.receipt["artifacts"]}
    second = await mayfly(lab, tmp_path / "home", *order, "--out", str(tmp_path / "out"))
    assert (second.code, second.receipt["answered_from_memory"]) == (0, True)
    assert (len(exchange.book.orders), len(lab.requests("instances.start"))) == (2, 1)
    assert not any(secret in first.said + second.said for secret in (API_KEY, API_SECRET))


async def test_the_rehearsal_buys_nothing_and_asks_nothing_private(lab: Lab, exchange: ExchangeServer):
    receipt = await lab.run(JOB, mode=Mode.TEST, params=BUY, once_per="1d")
    assert (receipt.exit_code, receipt.result["would_buy_about"]) == (0, "0.0008")
    assert (exchange.private, exchange.book.orders) == ([], [])


async def test_a_window_boundary_between_two_attempts_buys_once(lab: Lab, exchange: ExchangeServer):
    """23:50 and 00:10 with `--once-per 1d`: two attempts of one execution, which are one purchase."""
    late = datetime(2026, 11, 21, 23, 50, tzinfo=UTC)
    early = datetime(2026, 11, 22, 0, 10, tzinfo=UTC)
    order = {"params": BUY | {"pause_seconds": 1}, "once_per": "1d"}
    running = asyncio.create_task(lab.run(JOB, now=late, policy=DEAD_HAND, **order, **tries("mayfly-x7k2p", 0)))
    await exchange.has_placed()
    await kill(running)
    second = await lab.run(JOB, now=early, policy=HASTY, **order, **tries("mayfly-x7k2p", 1))
    assert second.run_key.startswith("2026-11-21/")
    assert (second.exit_code, len(exchange.book.orders)) == (0, 2)
    tomorrow = await lab.run(JOB, now=early, policy=HASTY, **order, **tries("mayfly-9zzzz", 0))
    assert tomorrow.run_key.startswith("2026-11-22/")
    assert (tomorrow.exit_code, len(exchange.book.orders)) == (0, 4)


async def test_a_purchase_that_was_cut_off_is_not_begun_again_by_itself(lab: Lab, exchange: ExchangeServer):
    exchange.rules += [Rule(PLACE, Fault.HANGS)]
    running = asyncio.create_task(lab.run(JOB, params=BUY, key="monday", policy=HASTY))
    await exchange.has_placed()
    await lab.switch_off()
    receipt = await running
    assert (receipt.outcome, receipt.exit_code) == (Outcome.INTERRUPTED, 5)
    again = await lab.run(JOB, params=BUY, key="monday", policy=HASTY)
    assert (again.exit_code, again.answered_from_memory) == (5, True)
    assert len(exchange.book.orders) == 1


async def test_a_purchase_that_may_be_begun_again_finds_what_was_placed_and_buys_the_rest(
    lab: Lab, exchange: ExchangeServer
):
    exchange.rules += [Rule(PLACE, Fault.HANGS)]
    running = asyncio.create_task(lab.run(JOB, params=BUY, policy=HASTY, on_interrupt="rerun"))
    await exchange.has_placed()
    await lab.switch_off()
    receipt = await running
    assert (receipt.exit_code, receipt.attempts) == (0, 2), receipt.detail
    assert [one["state"] for one in receipt.result["orders"]] == ["found", "placed"]
    assert len(exchange.book.orders) == 2


async def test_a_retry_after_the_orchestrator_was_killed_follows_the_purchase(lab: Lab, exchange: ExchangeServer):
    order = {"params": BUY | {"pause_seconds": 1}}
    running = asyncio.create_task(lab.run(JOB, policy=DEAD_HAND, **order, **tries("mayfly-x7k2p", 0)))
    await exchange.has_placed()
    await kill(running)
    receipt = await lab.run(JOB, policy=HASTY, **order, **tries("mayfly-x7k2p", 1))
    assert (receipt.exit_code, receipt.attempts, len(exchange.book.orders)) == (0, 1, 2)


async def test_a_key_that_is_not_for_this_vm_fails_with_the_vms_address(lab: Lab, exchange: ExchangeServer):
    exchange.allowed = False
    receipt = await lab.run(JOB, params=BUY)
    assert (receipt.exit_code, exchange.book.orders) == (1, [])
    ip = (await lab.address())["address"]
    assert "WrongKey: Binance does not accept the API key: AuthenticationError" in receipt.detail
    assert f"Is {ip} on its list of addresses" in receipt.detail


async def test_a_secret_that_is_not_there_is_named_with_what_to_do(tmp_path: Path, exchange: ExchangeServer):
    async with a_lab(tmp_path / "disks", a_world(script_of(exchange))) as lab:
        receipt = await lab.run(JOB, params=BUY)
        await lab.all_is_well()
    assert receipt.exit_code == 1
    assert "Secret Manager answered 404 for projects/demo/secrets/mayfly-exchange-key/versions/latest" in receipt.detail
    assert "create the secret" in receipt.detail
    assert exchange.private == []


@pytest.fixture
async def making(tmp_path: Path, exchange: ExchangeServer) -> AsyncIterator[MakingLab]:
    """A VM is made for each run, and deleted with its disk."""
    world = with_the_key(a_world_with_a_template(script_of(exchange)))
    async with a_making_lab(tmp_path / "disks", world) as lab:
        yield lab
        await lab.all_is_well()
        assert exchange.book.placed_twice() == []


async def test_a_doubled_tick_after_the_vm_was_deleted_buys_once(making: MakingLab, exchange: ExchangeServer):
    first = await making.run(JOB, params=BUY, once_per="1d")
    second = await making.run(JOB, params=BUY, once_per="1d")
    assert (first.exit_code, second.exit_code, second.answered_from_memory) == (0, 0, True)
    assert (len(exchange.book.orders), len(making.requests("instances.insert"))) == (2, 1)


async def test_a_doubled_tick_that_everybody_has_forgotten_finds_its_orders_by_their_names(
    making: MakingLab, exchange: ExchangeServer
):
    """The VM is gone with its ledger, the lease is wiped with its outcomes: the exchange still knows."""
    await making.run(JOB, params=BUY, key="monday")
    await making.write_lease(None)
    again = await making.run(JOB, params=BUY, key="monday")
    assert (again.exit_code, again.answered_from_memory) == (0, False)
    assert [one["state"] for one in again.result["orders"]] == ["found", "found"]
    assert len(exchange.book.orders) == 2


async def test_a_purchase_whose_vm_was_deleted_under_it_is_finished_on_another_one(
    making: MakingLab, exchange: ExchangeServer
):
    exchange.rules += [Rule(PLACE, Fault.HANGS)]
    running = asyncio.create_task(making.run(JOB, params=BUY, policy=HASTY, on_interrupt="rerun"))
    await exchange.has_placed()
    await making.delete_by_hand()
    receipt = await running
    assert (receipt.exit_code, receipt.attempts) == (0, 2), receipt.detail
    assert [one["state"] for one in receipt.result["orders"]] == ["found", "placed"]
    assert len(exchange.book.orders) == 2
