"""What an order is called, and how the money is cut."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_agent.jobs.trade.errors import BadSlices, PriceTooHigh
from vm_agent.jobs.trade.market import Rules
from vm_agent.jobs.trade.slices import check_price, client_order_id, cut

RULES = Rules("BTC", "USDT", Decimal("0.01"), Decimal(5), Decimal(9000), Decimal("0.00001"))


@given(st.text(), st.integers(1, 100))
def test_a_client_order_id_is_one_that_binance_takes(run_key: str, number: int) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9-_]{1,36}", client_order_id(run_key, number))


def test_a_client_order_id_never_changes_between_versions() -> None:
    """A run that is begun again after an update must find the orders from before it."""
    assert client_order_id("monday", 1) == "mayfly-ziaieucv55e67q5zhauslxpfru"


@given(st.sets(st.tuples(st.text(), st.integers(1, 100)), min_size=2))
def test_each_slice_of_each_key_has_an_id_of_its_own(slices: set[tuple[str, int]]) -> None:
    assert len({client_order_id(*one) for one in slices}) == len(slices)


@given(st.decimals(Decimal(500), Decimal(9000), places=2), st.integers(1, 100))
def test_the_slices_are_all_of_the_money_and_each_is_one_that_the_market_takes(spend: Decimal, slices: int) -> None:
    costs = cut(spend, slices, RULES)
    assert (sum(costs), len(costs)) == (spend, slices)
    assert all(cost >= 5 and cost % Decimal("0.01") == 0 for cost in costs)


def test_the_last_slice_takes_what_the_steps_leave() -> None:
    assert cut(Decimal(50), 3, RULES) == (Decimal("16.66"), Decimal("16.66"), Decimal("16.68"))


@pytest.mark.parametrize(
    ("spend", "slices", "advice"),
    [
        ("12", 3, "cut 2 slices at most"),
        ("4", 1, "4 USDT is too little"),
        ("50.001", 1, "this market counts USDT in 0.01"),
        ("20000", 2, "above the market's 9000: cut more slices"),
    ],
)
def test_what_the_market_does_not_take_is_refused_with_advice(spend: str, slices: int, advice: str) -> None:
    with pytest.raises(BadSlices, match=advice):
        cut(Decimal(spend), slices, RULES)


def test_a_price_above_the_limit_and_an_amount_below_the_smallest_are_refused() -> None:
    check_price(Decimal(50_000), Decimal(5), Decimal(50_000), RULES)
    with pytest.raises(PriceTooHigh, match=r"A BTC costs 50000\.01 USDT now, and max_price is 50000"):
        check_price(Decimal("50000.01"), Decimal(5), Decimal(50_000), RULES)
    with pytest.raises(BadSlices, match=r"less than the smallest amount, 0\.00001 BTC"):
        check_price(Decimal(1_000_000), Decimal(5), None, RULES)
