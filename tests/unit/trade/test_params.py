"""What a caller may write, and what is said to one who may not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from vm_agent.job import Context
from vm_agent.jobs.trade import run
from vm_agent.jobs.trade.errors import BadParams
from vm_agent.jobs.trade.params import params_from

BUY = {"symbol": "BTC/USDT", "spend": 50}


@pytest.mark.parametrize(("given", "meant"), [(16.1, "16.1"), ("16.10", "16.1"), (20, "20"), ("0.30", "0.3")])
def test_money_is_what_was_written_and_no_binary_fraction(given: Any, meant: str) -> None:
    assert params_from(BUY | {"spend": given}).spend == Decimal(meant)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"spend": 0}, "Param 'spend' cannot be 0: should be greater than 0."),
        ({"spend": "-5"}, "Param 'spend' cannot be '-5'"),
        ({"spend": "NaN"}, "Param 'spend' cannot be 'NaN'"),
        ({"spend": "Infinity"}, "Param 'spend' cannot be 'Infinity'"),
        ({"spend": "all"}, "Param 'spend' cannot be 'all'"),
        ({"slices": 0}, "Param 'slices' cannot be 0"),
        ({"slices": 101}, "Param 'slices' cannot be 101"),
        ({"symbol": "btc/usdt"}, "Param 'symbol' cannot be 'btc/usdt'"),
        ({"max_prise": 1}, "There is no param 'max_prise'; did you mean 'max_price'?"),
        ({"api_key": "x"}, "There is no param 'api_key'"),
    ],
)
def test_a_param_that_cannot_be_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(BadParams) as caught:
        params_from(BUY | wrong)
    assert says in str(caught.value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(BadParams) as caught:
        params_from({"spend": 0})
    assert "Param 'symbol' is needed: for example --set symbol=BTC/USDT" in str(caught.value)
    assert "Param 'spend' cannot be 0" in str(caught.value)


async def test_pauses_that_the_deadline_leaves_no_room_for_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    params = BUY | {"slices": 3, "pause_seconds": 60}
    context = Context(params, "run", tmp_path, datetime.now(UTC) + timedelta(seconds=100), run_key="monday")
    with pytest.raises(BadParams, match="The pauses alone take 0:02:00"):
        await run(context)
