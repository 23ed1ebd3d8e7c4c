"""The gateway's token over hours, on a clock that the test moves."""

import asyncio
import base64
import json

import pytest

from vm_agent.gateway import policy
from vm_agent.gateway.problems import NoIdentity
from vm_agent.gateway.tokens import Tokens
from vm_agent.identity import expiry

HOUR = 3600.0


class Metadata:
    """Gives tokens of an hour; `down`: it gives none."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.down = False
        self.given: list[str] = []
        self.asked = 0
        self.tokens = Tokens(self.fetch, lambda: self.now)

    async def fetch(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise OSError("no answer")
        self.given.append(_token(exp=self.now + HOUR, number=len(self.given)))
        return self.given[-1]

    async def refreshed(self) -> None:
        """What is under way is over."""
        refresh = self.tokens._refresh
        assert refresh
        await refresh


def _token(**claims: float) -> str:
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature"


async def test_one_token_serves_everybody_until_shortly_before_its_end() -> None:
    metadata = Metadata()
    first = await metadata.tokens.current()
    metadata.now += HOUR - policy.TOKEN_AHEAD_SECONDS
    assert await metadata.tokens.current() == first
    assert metadata.asked == 1


async def test_it_is_renewed_before_its_end_while_callers_go_on_with_the_old_one() -> None:
    metadata = Metadata()
    first = await metadata.tokens.current()
    metadata.now += HOUR - policy.TOKEN_AHEAD_SECONDS + 1
    assert await metadata.tokens.current() == first, "nobody waits for the next one"
    await metadata.refreshed()
    assert await metadata.tokens.current() == metadata.given[1]
    assert metadata.asked == 2


async def test_an_outage_of_the_metadata_server_goes_unnoticed_until_the_token_ends() -> None:
    metadata = Metadata()
    first = await metadata.tokens.current()
    metadata.now += HOUR - policy.TOKEN_AHEAD_SECONDS + 1
    metadata.down = True
    end = metadata.now + policy.TOKEN_AHEAD_SECONDS - 1
    while metadata.now < end:
        assert await metadata.tokens.current() == first
        await metadata.refreshed()
        metadata.now += 1
    assert metadata.asked == 1 + policy.TOKEN_AHEAD_SECONDS // policy.TOKEN_AGAIN_SECONDS, "not hammered"
    metadata.now += policy.TOKEN_AGAIN_SECONDS
    with pytest.raises(NoIdentity, match="no answer"):
        await metadata.tokens.current()
    metadata.down = False
    metadata.now += policy.TOKEN_AGAIN_SECONDS
    assert await metadata.tokens.current() == metadata.given[1]


async def test_fifty_callers_at_once_wait_for_one_refresh_also_when_one_of_them_leaves() -> None:
    metadata = Metadata()
    callers = [asyncio.create_task(metadata.tokens.current()) for _ in range(50)]
    await asyncio.sleep(0)
    callers[0].cancel()
    told = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(told[0], asyncio.CancelledError)
    assert set(told[1:]) == set(metadata.given)
    assert metadata.asked == 1


async def test_fifty_callers_at_once_fail_by_one_refresh() -> None:
    metadata = Metadata()
    metadata.down = True
    told = await asyncio.gather(*(metadata.tokens.current() for _ in range(50)), return_exceptions=True)
    assert {type(one) for one in told} == {NoIdentity}
    assert metadata.asked == 1


@pytest.mark.parametrize("text", ["", "a.b", "a.e30.c", "a.!!!.c", f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c"])
async def test_what_is_no_token_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="no ID token"):
        expiry(text)
