"""How often an address may be wrong."""

import pytest

from vm_agent.gateway.guesses import Guesses


class Clock:
    now = 1000.0


def _guesses(clock: Clock, addresses_max: int = 100) -> Guesses:
    return Guesses(lambda: clock.now, at_once=3, seconds_each=6, addresses_max=addresses_max)


def test_a_few_at_once_then_one_each_time_its_seconds_are_over() -> None:
    clock = Clock()
    guesses = _guesses(clock)
    assert [guesses.too_many("192.0.2.1") for _ in range(5)] == [False, False, False, True, True]
    clock.now += 5.9
    assert guesses.too_many("192.0.2.1")
    clock.now += 0.2
    assert [guesses.too_many("192.0.2.1") for _ in range(2)] == [False, True]
    clock.now += 3600
    assert [guesses.too_many("192.0.2.1") for _ in range(4)] == [False, False, False, True], "no more than a few, ever"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unknown", "unknown", True),
    ],
)
def test_an_account_is_one_caller_s(one: str, other: str, same: bool) -> None:
    guesses = _guesses(Clock())
    for _ in range(3):
        guesses.too_many(one)
    assert guesses.too_many(other) is same


def test_no_more_addresses_are_remembered_than_allowed() -> None:
    guesses = _guesses(Clock(), addresses_max=10)
    for number in range(1000):
        guesses.too_many(f"192.0.2.{number}")
    assert len(guesses._even) == 10
