"""What we show an agent: a token that is got once, renewed before it is over, and never stood in line for twice."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.agent_credentials import ApiKey, IdToken, NoCredential
from orchestrator.errors import BadUsage, Forbidden
from orchestrator.policy import Policy
from tests.clocks import JumpingClock
from tests.signing import NOON, SigningKey

key = SigningKey()
VM = {"project": "demo", "zone": "us-central1-a", "instance": "gpu-vm"}


class Google(JumpingClock):
    """Gives tokens that last an hour from the moment it is asked, one after the other; and it is the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.seconds = NOON
        self.refuses: Exception | None = None
        self.gives: str | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    async def fetch(self, audience: str) -> str:
        self.asked.append(audience)
        number = len(self.asked)
        await self.answers.wait()
        if self.refuses:
            raise self.refuses
        return self.gives or key.token(self.seconds, sub=str(number))

    def token(self, **vm: str) -> IdToken:
        return IdToken(self.fetch, Policy(), self, **{**VM, **vm})


@pytest.fixture
def google() -> Google:
    return Google()


async def test_one_token_does_for_many_requests(google: Google):
    token = google.token()
    token.prepare()
    first = await token.headers()
    assert first["Authorization"].startswith("Bearer ey")
    google.seconds += 3600 - 181
    assert await token.headers() == first
    assert google.asked == ["//compute.googleapis.com/projects/demo/zones/us-central1-a/instances/gpu-vm"]


async def test_it_is_fetched_once_for_all_who_wait_and_goes_on_if_one_leaves(google: Google):
    token = google.token()
    google.answers.clear()
    waiting = [asyncio.create_task(token.headers()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    google.answers.set()
    assert len({(await one)["Authorization"] for one in waiting}) == 1
    assert len(google.asked) == 1


async def test_it_is_renewed_before_it_is_over_and_nobody_waits_for_that(google: Google):
    token = google.token()
    old = await token.headers()
    google.seconds += 3600 - 179
    google.answers.clear()
    assert await token.headers() == old
    assert await token.headers() == old
    google.answers.set()
    while (new := await token.headers()) == old:
        await asyncio.sleep(0)
    assert len(google.asked) == 2
    assert new != old


async def test_one_that_is_over_is_waited_for(google: Google):
    token = google.token()
    old = await token.headers()
    google.seconds += 3601
    assert await token.headers() != old


async def test_google_may_give_the_old_one_again_and_is_not_hammered(google: Google):
    token = google.token()
    await token.headers()
    google.gives = key.token(google.seconds)
    google.seconds += 3500
    for _ in range(10):
        await token.headers()
        await asyncio.sleep(0)
    assert len(google.asked) == 2
    google.seconds += Policy().token_pause.total_seconds()
    await token.headers()
    await asyncio.sleep(0)
    assert len(google.asked) == 3


async def test_a_clock_that_is_wrong_keeps_nobody_from_showing_the_newest_token(google: Google):
    google.gives = key.token(google.seconds - 9999)
    token = google.token()
    assert (await token.headers())["Authorization"] == f"Bearer {google.gives}"
    await token.headers()
    assert len(google.asked) == 1


async def test_after_a_refusal_the_next_is_a_fresh_one(google: Google):
    token = google.token()
    old = await token.headers()
    assert token.refused(old)
    new = await token.headers()
    assert new != old
    assert token.refused(old), "that was not the newest one"
    assert await token.headers() == new


async def test_that_there_is_none_is_heard_by_whoever_needs_it_and_asked_again(google: Google):
    google.refuses = Forbidden("no service account")
    token = google.token()
    token.prepare()
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(Forbidden, match="no service account"):
            await token.headers()
    google.refuses = None
    assert await token.headers()


async def test_a_renewal_that_fails_costs_nothing_while_the_old_one_holds(google: Google):
    token = google.token()
    old = await token.headers()
    google.seconds += 3500
    google.refuses = Forbidden("not now")
    assert await token.headers() == old
    await asyncio.sleep(0)
    google.refuses = None
    await token.headers()
    await asyncio.sleep(0)
    assert await token.headers() != old


async def test_its_advice_names_the_email_and_what_to_put_where(google: Google):
    token = google.token(instance="gpu-9")
    await token.headers()
    assert "mayfly@demo.iam.gserviceaccount.com for //compute.googleapis.com/projects/demo" in token.advice
    assert (
        "gcloud compute instances add-metadata gpu-9 --zone=us-central1-a --project=demo "
        "--metadata=mayfly-callers=mayfly@demo.iam.gserviceaccount.com"
    ) in token.advice


@pytest.mark.parametrize("odd", ["", "a", "a.b.c", "a.W10.c", "a.eyJleHAiOiAieCJ9.c"])
async def test_a_token_that_we_cannot_read_is_shown_all_the_same(google: Google, odd: str):
    google.gives = odd or "x"
    assert (await google.token().headers())["Authorization"] == f"Bearer {google.gives}"


async def test_a_key_is_shown_as_it_is_and_there_is_no_other() -> None:
    shown = ApiKey("sesame")
    assert await shown.headers() == {"X-API-Key": "sesame"}
    assert not shown.refused(await shown.headers())
    assert "sesame" not in shown.advice


async def test_who_has_nothing_to_show_says_why() -> None:
    nothing: Any = NoCredential(BadUsage("no key"))
    with pytest.raises(BadUsage, match="no key"):
        await nothing.headers()
    assert not nothing.refused({})
