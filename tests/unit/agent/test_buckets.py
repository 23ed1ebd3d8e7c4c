"""How often an address may be wrong, and which addresses are one caller's."""

import pytest

from vm_agent.buckets import Bucket, ByCaller


def test_a_few_at_once_then_one_each_time_its_seconds_are_over() -> None:
    bucket = Bucket.full(3, 1 / 6)
    assert [bucket.take(1000.0) > 0 for _ in range(5)] == [False, False, False, True, True]
    assert bucket.take(1005.9) > 0
    assert [bucket.take(1006.1) > 0 for _ in range(2)] == [False, True]
    assert [bucket.take(4606.1) > 0 for _ in range(4)] == [False, False, False, True], "no more than a few, ever"


def test_a_bucket_never_holds_more_than_its_size() -> None:
    bucket = Bucket.full(2, 1.0)
    bucket.put_back()
    assert [bucket.take(0.0), bucket.take(0.0), bucket.take(0.0), bucket.take(0.5)] == [0.0, 0.0, 1.0, 0.5]
    assert bucket.take(1.0) == 0.0


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
    kept = ByCaller(lambda: Bucket.full(3, 1 / 6), 100)
    assert (kept.of(one) is kept.of(other)) is same


def test_no_more_addresses_are_remembered_than_allowed_and_those_seen_last_are() -> None:
    kept = ByCaller(lambda: Bucket.full(3, 1 / 6), 10)
    first = kept.of("192.0.2.1")
    for number in range(2, 250):
        kept.of(f"192.0.2.{number}")
        if number < 100:
            assert kept.of("192.0.2.1") is first
    assert len(kept._kept) == 10
    assert kept.of("192.0.2.1") is not first
