"""The params of a purchase. Unknown ones are refused: a misspelt limit must not be ignored."""

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vm_agent.jobs.trade.errors import BadParams
from vm_agent.jobs.trade.policy import SLICES_MAX

Money = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Params(BaseModel):
    """What to buy, and with what."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    symbol: Annotated[str, Field(pattern=r"^[A-Z0-9]+/[A-Z0-9]+$")]  # BTC/USDT: buy BTC, pay with USDT
    spend: Money  # all slices together, in the quote currency
    slices: Annotated[int, Field(ge=1, le=SLICES_MAX)] = 1
    pause_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0  # between two slices
    max_price: Money | None = None  # a slice is not bought above it
    reserve: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal(0)  # what has to stay on the account
    exchange: Literal["binance"] = "binance"
    testnet: bool = False
    key_secret: Annotated[str, Field(min_length=1)] = "mayfly-exchange-key"  # noqa: S105 - a name, never a value
    secret_secret: Annotated[str, Field(min_length=1)] = "mayfly-exchange-secret"  # noqa: S105 - likewise


def params_from(given: Mapping[str, Any]) -> Params:
    """Check what the caller sent; every fault is named at once."""
    try:
        return Params.model_validate(dict(given))
    except ValidationError as invalid:
        raise BadParams(" ".join(_sentence(error) for error in invalid.errors())) from None


def _sentence(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0])
    if error["type"] == "missing":
        return f"Param {name!r} is needed: for example --set symbol=BTC/USDT --set spend=50."
    if error["type"] == "extra_forbidden":
        return f"There is no param {name!r}; {_nearest(name)}"
    return f"Param {name!r} cannot be {error['input']!r}: {error['msg'].removeprefix('Input ')}."


def _nearest(name: str) -> str:
    valid = list(Params.model_fields)
    close = get_close_matches(name, valid, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(valid)}."
