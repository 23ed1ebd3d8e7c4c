"""The fence: the highest epoch commands, and whoever shows none only while nobody holds the lease."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vm_agent.fence import EPOCH_MAX, Fence
from vm_agent.ledger import Ledger
from vm_agent.problems import LeaseLive, StaleEpoch

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
LATER = (NOON + timedelta(seconds=1)).isoformat()


class Metadata:
    """The lease as the metadata server shows it, if it answers."""

    def __init__(self, lease: str | None = None, *, readable: bool = True) -> None:
        self.value, self.readable = lease, readable

    async def lease(self) -> str | None:
        if not self.readable:
            raise OSError("no answer")
        return self.value


def a_fence(lease: str | None = None, *, readable: bool = True) -> Fence:
    return Fence(Ledger(Path(":memory:")), Metadata(lease, readable=readable), lambda: NOON)


def held(epoch: int = 7, expires_at: Any = LATER, holder: str = "a laptop") -> str:
    return json.dumps({"epoch": epoch, "holder": holder, "expires_at": expires_at})


def test_an_epoch_counts_from_its_first_word_and_every_lower_one_is_over():
    fence = a_fence()
    fence.hear(20)
    fence.hear(20)
    with pytest.raises(StaleEpoch, match="epoch 19 is over: 20 has spoken"):
        fence.hear(19)
    assert fence.ledger.epoch == 20


def test_a_lease_that_is_seen_raises_the_epoch_before_its_holder_speaks():
    fence = a_fence()
    fence.observe(held(20))
    with pytest.raises(StaleEpoch):
        fence.hear(19)
    fence.observe(held(3))
    assert fence.ledger.epoch == 20, "a lower one changes nothing"


@pytest.mark.parametrize(
    ("lease", "epoch"),
    [
        (None, 0),
        ("", 0),
        ("{", 0),
        ("[7]", 0),
        ("7", 0),
        ("{}", 0),
        ('{"epoch": "7"}', 0),
        (held(EPOCH_MAX), EPOCH_MAX),
        (held(EPOCH_MAX + 1), 0),
    ],
)
def test_what_is_no_lease_of_ours_has_no_epoch(lease: str | None, epoch: int):
    fence = a_fence()
    fence.observe(lease)
    assert fence.ledger.epoch == epoch


async def test_the_lease_in_the_metadata_has_its_say_before_any_command():
    fence = a_fence(held(20))
    with pytest.raises(StaleEpoch):
        await fence.admit(19)
    await fence.admit(20)
    await fence.admit(21)
    assert fence.ledger.epoch == 21


async def test_whoever_shows_no_epoch_is_told_who_holds_it_and_until_when():
    with pytest.raises(LeaseLive, match=f"leased by 'a laptop' until {LATER.replace('+', '.')}"):
        await a_fence(held()).admit(None)


@pytest.mark.parametrize(
    "lease",
    [
        held(expires_at=NOON.isoformat()),
        held(holder=""),
        held(expires_at=None),
        held(expires_at="soon"),
        json.dumps({"expires_at": LATER}),
        json.dumps({"holder": "a laptop"}),
        None,
    ],
)
async def test_nobody_holds_a_lease_that_is_over_or_names_no_holder_or_no_end(lease: str | None):
    fence = a_fence(lease)
    await fence.admit(None)
    assert fence.ledger.epoch in {0, 7}


async def test_a_time_without_a_zone_is_utc():
    with pytest.raises(LeaseLive):
        await a_fence(held(expires_at="2030-01-01T12:00:01")).admit(None)
    await a_fence(held(expires_at="2030-01-01T12:00:00")).admit(None)
    await a_fence(held(expires_at="2030-01-01T12:00:01+01:00")).admit(None)


async def test_unknown_is_not_absent_a_lease_that_cannot_be_read_keeps_strangers_out():
    fence = a_fence(readable=False)
    with pytest.raises(LeaseLive, match=r"cannot be read \(no answer\)"):
        await fence.admit(None)
    await fence.admit(7)
    assert fence.ledger.epoch == 7


async def test_an_epoch_that_is_over_commands_nothing_though_the_lease_cannot_be_read():
    fence = a_fence(readable=False)
    fence.hear(20)
    with pytest.raises(StaleEpoch):
        await fence.admit(19)
    await fence.admit(21)
    assert fence.ledger.epoch == 21
