"""Requests and replies that get lost or come late: the history tells what truly happened."""

from datetime import timedelta
from uuid import uuid4

from gcp_emulator.wire import LOST, Held, Reply
from tests.unit.emulator.inside import DEMO, SOME_TIME, VM, Inside

START = f"/compute/v1/{VM}/start"


def requests(inside: Inside, verb: str = "instances.start") -> list[dict[str, object]]:
    return [entry for entry in inside.get("/_emulator/history")["entries"] if entry.get("verb") == verb]


def test_a_lost_request_changes_nothing_and_the_service_never_saw_it():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.start", "lose_request": {}})
    assert inside.ask("POST", START) is LOST
    inside.passes(1)
    assert inside.status() == "TERMINATED"
    [met] = requests(inside)
    assert (met["kind"], met["fault"]) == ("fault", "lose_request")


def test_a_lost_reply_leaves_its_effect_and_the_same_request_id_gives_the_same_operation():
    inside = Inside(latency=SOME_TIME)
    inside.post("/_emulator/faults", {"on": "instances.start", "lose_reply": {}})
    url = f"{START}?requestId={uuid4()}"
    assert inside.ask("POST", url) is LOST
    inside.passes(1)
    again = inside.post(url)
    inside.passes(10)
    assert inside.status() == "RUNNING"
    operations = {
        entry["name"] for entry in inside.get("/_emulator/history")["entries"] if entry["kind"] == "operation"
    }
    assert operations == {again["name"]}
    fault, lost, answered = (entry for entry in requests(inside) if entry["kind"] != "operation")
    assert (fault["fault"], lost["answer"], "answer" in answered) == ("lose_reply", "lost", False)


def test_a_late_reply_comes_after_its_effect():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.start", "late": {"seconds": 30}})
    held = inside.ask("POST", START)
    assert held == Held(inside.now + timedelta(seconds=30))
    request, asked = inside.sent, inside.now
    inside.passes(1)
    assert inside.status() == "RUNNING"
    assert inside.cloud.answer(request, inside.now, asked) == held
    inside.passes(29)
    reply = inside.cloud.answer(request, inside.now, asked)
    assert isinstance(reply, Reply)
    assert reply.status == 200
    assert [entry["status"] for entry in requests(inside) if entry["kind"] == "request"] == [200]


def test_a_request_that_was_held_up_lands_though_its_caller_has_gone():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.start", "late": {"seconds": 30, "effect": "at_the_end"}})
    assert isinstance(inside.ask("POST", START), Held)
    inside.sent = None  # type: ignore[assignment]  # nobody asks again
    inside.passes(29)
    assert inside.status() == "TERMINATED"
    assert [entry for entry in requests(inside) if entry["kind"] == "request"] == []
    inside.passes(1)
    assert inside.status() == "RUNNING"
    [landed] = [entry for entry in requests(inside) if entry["kind"] == "request"]
    assert (landed["answer"], landed["asked_at"] < landed["at"]) == ("late", True)  # type: ignore[operator]


def test_a_request_that_was_held_up_and_its_second_try_are_done_once():
    inside = Inside(latency=SOME_TIME)
    inside.post("/_emulator/faults", {"on": "instances.start", "late": {"seconds": 30, "effect": "at_the_end"}})
    url = f"{START}?requestId={uuid4()}"
    inside.ask("POST", url)
    inside.post(url)
    inside.passes(60)
    assert inside.states() == ["PROVISIONING", "STAGING", "RUNNING"]


def test_a_wait_can_come_late_too():
    inside = Inside(latency=SOME_TIME)
    operation = inside.post(f"{VM}/start")
    inside.post("/_emulator/faults", {"on": "zoneOperations.wait", "late": {"seconds": 2, "effect": "at_the_end"}})
    url = "/compute/v1/" + operation["selfLink"].partition("/compute/v1/")[2] + "/wait"
    assert isinstance(inside.ask("POST", url), Held)
    request, asked = inside.sent, inside.now
    inside.passes(2)
    assert isinstance(inside.cloud.answer(request, inside.now, asked), Held), "it is not DONE yet"
    inside.passes(1)
    reply = inside.cloud.answer(request, inside.now, asked)
    assert isinstance(reply, Reply)
    assert b'"DONE"' in reply.body


def test_the_metadata_server_loses_requests_too():
    inside = Inside(DEMO)
    inside.post("/_emulator/faults", {"on": "metadata.get", "lose_request": {}})
    assert inside.inquire("instance/id") is LOST
    assert inside.inquire("instance/id").status == 200
