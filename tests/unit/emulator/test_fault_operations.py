"""Operations that end as they should not, and answers that are not the truth of the moment."""

from datetime import timedelta

import pytest

from gcp_emulator.knobs import Knobs
from tests.unit.emulator.inside import ADDRESS, NOON, SOME_TIME, VM, Inside


def metadata_body(inside: Inside, **items: str) -> dict[str, object]:
    shown = inside.vm()["metadata"]
    return {
        "fingerprint": shown["fingerprint"],
        "items": [*shown.get("items", []), *({"key": key, "value": value} for key, value in items.items())],
    }


def items(inside: Inside) -> dict[str, str]:
    return {item["key"]: item["value"] for item in inside.vm()["metadata"]["items"]}


@pytest.mark.parametrize("details", [False, True])
def test_a_stockout_speaks_as_google_does(details: bool):
    inside = Inside(latency=SOME_TIME)
    inside.post("/_emulator/faults", {"stockout": {"details": details}})
    operation = inside.post(f"{VM}/start")
    inside.passes(10)
    failed = inside.operation(operation)
    [error] = failed["error"]["errors"]
    assert error["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED" + ("_WITH_DETAILS" if details else "")
    assert error["message"].startswith("The zone 'projects/demo/zones/us-central1-a' does not have enough resources")
    assert (failed["httpErrorStatusCode"], failed["httpErrorMessage"]) == (503, "SERVICE UNAVAILABLE")
    assert inside.states() == ["PROVISIONING", "TERMINATED"]


def test_a_stop_can_be_done_without_effect():
    inside = Inside()
    inside.post(f"{VM}/start")
    inside.post("/_emulator/faults", {"on": "instances.stop", "operation_without_effect": {}})
    operation = inside.operation(inside.post(f"{VM}/stop"))
    assert (operation["status"], "error" in operation, inside.status()) == ("DONE", False, "RUNNING")
    inside.post(f"{VM}/stop")
    assert inside.status() == "TERMINATED"


def test_any_change_can_be_done_without_effect():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.*", "times": 2, "skip": 1, "operation_without_effect": {}})
    before = items(inside)
    inside.post(f"{VM}/setMetadata", metadata_body(inside, colour="blue"))
    assert items(inside) != before
    operation = inside.operation(inside.post(f"{VM}/setMetadata", metadata_body(inside, taste="sweet")))
    assert (operation["status"], "taste" in items(inside)) == ("DONE", False)
    inside.post(f"{VM}/start")
    assert inside.states() == []


@pytest.mark.parametrize("effect", [True, False])
def test_an_operation_can_never_end_whatever_becomes_of_its_effect(effect: bool):
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.start", "operation_never_ends": {"effect": effect}})
    operation = inside.post(f"{VM}/start")
    inside.passes(86_400)
    assert inside.operation(operation)["status"] == "RUNNING"
    assert inside.status() == ("RUNNING" if effect else "TERMINATED")
    inside.post(f"{VM}/start")
    assert inside.status() == "RUNNING", "the changes after it have their turn"


def test_a_rate_limit_holds_until_the_next_full_minute():
    inside = Inside()
    inside.passes(15)
    inside.post("/_emulator/faults", {"on": "instances.*", "rate_limit": {}})
    assert inside.refused("GET", VM)[:2] == (403, "rateLimitExceeded")
    inside.passes(44)
    assert inside.refused("GET", VM)[0] == 403
    assert inside.get(ADDRESS)["status"] == "RESERVED"
    inside.passes(1)
    assert inside.now == NOON + timedelta(minutes=1)
    assert inside.status() == "TERMINATED"


def test_a_stale_read_shows_what_was_true_then():
    inside = Inside(latency=SOME_TIME)
    inside.post("/_emulator/faults", {"times": 4, "stale": {"seconds": 2}})
    inside.post(f"{VM}/start")
    inside.passes(4)
    assert inside.status() == "STAGING", "it has been RUNNING for a second"
    inside.passes(1)
    assert inside.status() == "RUNNING"
    ip = inside.get(ADDRESS)["address"]
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"natIP": ip})
    inside.passes(3)
    assert inside.get(ADDRESS)["status"] == "RESERVED"
    assert inside.get(ADDRESS)["status"] == "IN_USE", "the rule is spent"


def test_a_stale_read_knows_nothing_of_the_time_before_the_rule():
    inside = Inside()
    inside.post(f"{VM}/start")
    inside.post("/_emulator/faults", {"on": "instances.get", "stale": {"seconds": 3600}})
    inside.post(f"{VM}/stop")
    assert inside.status() == "RUNNING"
    assert inside.status() == "TERMINATED"


def test_a_stale_read_of_what_came_later_is_a_404():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "addresses.get", "stale": {"seconds": 60}})
    inside.passes(1)
    region = ADDRESS.rpartition("/addresses/")[0]
    inside.post(f"{region}/addresses", {"name": "new-ip"})
    assert inside.refused("GET", f"{region}/addresses/new-ip")[:2] == (404, "notFound")
    assert inside.get(f"{region}/addresses/new-ip")["status"] == "RESERVED"


def test_another_writer_before_a_write_is_a_412():
    inside = Inside()
    body = metadata_body(inside, colour="blue")
    inside.post("/_emulator/faults", {"on": "instances.setMetadata", "write_metadata": {"key": "ssh-keys"}})
    assert inside.refused("POST", f"{VM}/setMetadata", body)[:2] == (412, "conditionNotMet")
    assert items(inside).keys() >= {"ssh-keys"}
    inside.post(f"{VM}/setMetadata", metadata_body(inside, colour="blue"))
    assert items(inside)["colour"] == "blue"


@pytest.mark.parametrize(("moment", "knob"), [("after", "reply"), ("before", "operation")])
def test_another_writer_can_show_in_the_operation_alone(moment: str, knob: str):
    inside = Inside(latency=SOME_TIME, knobs=Knobs(stale_fingerprint=knob))  # type: ignore[arg-type]
    body = metadata_body(inside, colour="blue")
    rule = {"on": "instances.setMetadata", "moment": moment, "write_metadata": {"key": "ssh-keys"}}
    inside.post("/_emulator/faults", rule)
    operation = inside.post(f"{VM}/setMetadata", body)
    inside.passes(5)
    assert inside.operation(operation)["error"]["errors"][0]["code"] == "CONDITION_NOT_MET"
    assert "colour" not in items(inside)


def test_another_writer_changes_the_fingerprint_every_time():
    inside = Inside()
    rule = {"on": "instances.setMetadata", "times": 3, "write_metadata": {"key": "ssh-keys"}}
    inside.post("/_emulator/faults", rule)
    for _ in range(3):
        assert inside.refused("POST", f"{VM}/setMetadata", metadata_body(inside))[0] == 412
    inside.post(f"{VM}/setMetadata", metadata_body(inside))


def test_a_value_can_be_wiped_off_the_metadata_at_any_moment():
    inside = Inside()
    inside.post("/_emulator/faults", {"after": 5, "write_metadata": {"key": "startup-script", "value": None}})
    inside.passes(4)
    assert "startup-script" in items(inside)
    inside.passes(1)
    assert "startup-script" not in items(inside)


def test_the_metadata_server_says_503_in_its_own_form():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "metadata.*", "reply": {"status": 503}})
    reply = inside.inquire("instance/id")
    assert (reply.status, reply.headers["metadata-flavor"]) == (503, "Google")
    assert reply.headers["content-type"].startswith("text/html")
