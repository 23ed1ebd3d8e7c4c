"""Reserving addresses and giving them back."""

from typing import Any

import pytest

from tests.unit.emulator.inside import ADDRESS, REGION, SOME_TIME, VM, Inside


def test_an_address_is_reserving_until_its_operation_is_done():
    inside = Inside(latency=SOME_TIME)
    operation = inside.post(f"{REGION}/addresses", {"name": "new-ip", "labels": {"mayfly": "managed"}})
    assert inside.get(f"{REGION}/addresses/new-ip")["status"] == "RESERVING"
    inside.passes(1)
    address = inside.get(f"{REGION}/addresses/new-ip")
    assert (address["status"], address["address"]) == ("RESERVED", "127.33.27.129")
    assert inside.operation(operation)["status"] == "DONE"
    assert inside.states("addresses/new-ip") == ["RESERVING", "RESERVED"]


def test_a_free_address_is_given_back_and_its_ip_reserved_again():
    inside = Inside()
    ip = inside.get(ADDRESS)["address"]
    assert inside.say("DELETE", ADDRESS)[0] == 200
    inside.passes(0)
    assert inside.refused("GET", ADDRESS) == (404, "notFound", f"The resource '{ADDRESS}' was not found")
    inside.post(f"{REGION}/addresses", {"name": "next", "address": ip})
    assert inside.get(f"{REGION}/addresses/next")["address"] == ip


def test_an_address_in_use_is_not_given_back():
    inside = Inside()
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"natIP": inside.get(ADDRESS)["address"]})
    status, reason, message = inside.refused("DELETE", ADDRESS)
    assert (status, reason) == (400, "resourceInUseByAnotherResource")
    assert message == f"The address resource '{ADDRESS}' is already being used by '{VM}'"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"name": "gpu-ip"}, 409, "alreadyExists"),
        ({}, 400, "required"),
        ({"name": "Upper"}, 400, "invalid"),
        ({"name": "new", "address": "203.0.113.1"}, 400, "invalid"),
        ({"name": "new", "address": "127.33.27.128"}, 400, "invalid"),
        ({"name": "new", "addressType": "INTERNAL"}, 400, "invalid"),
    ],
)
def test_an_address_that_cannot_be_reserved_is_refused(body: Any, status: int, reason: str):
    assert Inside().refused("POST", f"{REGION}/addresses", body)[:2] == (status, reason)


def test_when_no_address_is_left_the_quota_is_exceeded():
    inside = Inside()
    for number in range(126):
        inside.post(f"{REGION}/addresses", {"name": f"ip-{number}"})
    assert inside.refused("POST", f"{REGION}/addresses", {"name": "one-more"})[:2] == (403, "quotaExceeded")
