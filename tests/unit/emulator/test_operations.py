"""Operations: get, list, the two-minute wait, and requestId."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from gcp_emulator.wire import Held, Reply
from tests.unit.emulator.inside import NOON, REGION, SOME_TIME, VM, ZONE, Inside

REQUEST = uuid4()


def test_wait_is_held_until_the_operation_is_done():
    inside = Inside(latency=SOME_TIME)
    name = inside.post(f"{VM}/start")["name"]
    held = inside.ask("POST", f"/compute/v1/{ZONE}/operations/{name}/wait")
    assert held == Held(NOON + timedelta(minutes=2))
    before = inside.cloud.changes
    inside.passes(3)
    assert inside.cloud.changes > before
    answer = inside.cloud.answer(inside.sent, inside.now, first_asked=NOON)
    assert isinstance(answer, Reply)
    assert b'"status":"DONE"' in answer.body


def test_wait_gives_up_after_two_minutes_with_what_there_is():
    inside = Inside(latency=SOME_TIME, guests=True)
    inside.post(f"{VM}/start")
    inside.passes(3)
    name = inside.post(f"{VM}/stop")["name"]
    assert isinstance(inside.ask("POST", f"/compute/v1/{ZONE}/operations/{name}/wait"), Held)
    asked = inside.now
    inside.passes(120)
    answer = inside.cloud.answer(inside.sent, inside.now, first_asked=asked)
    assert isinstance(answer, Reply)
    assert b'"status":"RUNNING"' in answer.body


def test_wait_for_what_is_done_answers_at_once():
    inside = Inside()
    name = inside.post(f"{VM}/start")["name"]
    assert inside.post(f"{ZONE}/operations/{name}/wait")["status"] == "DONE"


def test_an_operation_is_found_by_name_and_by_number_in_its_own_scope_only():
    inside = Inside()
    operation = inside.post(f"{VM}/start")
    assert inside.get(f"{ZONE}/operations/{operation['id']}")["name"] == operation["name"]
    for elsewhere in (f"{REGION}/operations/{operation['name']}", f"{ZONE}/operations/operation-none"):
        assert inside.refused("GET", elsewhere)[:2] == (404, "notFound")


def test_operations_are_listed_by_scope_newest_first_if_asked():
    inside = Inside()
    inside.post(f"{VM}/start")
    inside.post(f"{VM}/stop")
    inside.post(f"{REGION}/addresses", {"name": "another"})
    assert [one["operationType"] for one in inside.get(f"{ZONE}/operations")["items"]] == ["start", "stop"]
    newest_first = inside.get(f"{ZONE}/operations?orderBy=creationTimestamp desc&maxResults=1")
    assert [one["operationType"] for one in newest_first["items"]] == ["stop"]
    [insert] = inside.get(f"{REGION}/operations")["items"]
    assert insert["region"].endswith(REGION)


def test_the_same_request_id_gives_the_same_operation_and_does_nothing_again():
    inside = Inside(latency=SOME_TIME)
    first = inside.post(f"{VM}/start?requestId={REQUEST}")
    inside.passes(10)
    again = inside.post(f"{VM}/start?requestId={REQUEST}")
    assert (again["name"], again["status"]) == (first["name"], "DONE")
    assert again["clientOperationId"] == str(REQUEST)
    assert inside.states() == ["PROVISIONING", "STAGING", "RUNNING"]


def test_a_request_id_is_forgotten_after_an_hour():
    inside = Inside()
    first = inside.post(f"{VM}/start?requestId={REQUEST}")
    inside.passes(3600)
    assert inside.post(f"{VM}/start?requestId={REQUEST}")["name"] != first["name"]


@pytest.mark.parametrize("request_id", ["no-uuid", str(UUID(int=0))])
def test_a_request_id_is_a_uuid_that_is_not_zero(request_id: str):
    assert Inside().refused("POST", f"{VM}/start?requestId={request_id}")[:2] == (400, "invalid")
