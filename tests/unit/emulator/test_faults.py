"""Faults on purpose, which count themselves."""

from typing import Any

import pytest

from tests.unit.emulator.inside import SOME_TIME, VM, Inside

UNAVAILABLE = {"status": 503, "reason": "backendError", "message": "Try again"}
STOCKOUT = {
    "on": "instances.start",
    "operation_error": {"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "not enough resources", "status": 503},
}


def test_a_reply_fault_happens_as_often_as_it_says_and_changes_nothing():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.start", "times": 2, "reply": UNAVAILABLE})
    for _ in range(2):
        assert inside.refused("POST", f"{VM}/start") == (503, "backendError", "Try again")
    assert inside.states() == []
    inside.post(f"{VM}/start")
    assert inside.status() == "RUNNING"
    shown = inside.get("/_emulator/faults")
    assert (shown["all_spent"], shown["faults"][0]["fired"]) == (True, 2)


def test_a_fault_that_never_happened_is_not_spent():
    inside = Inside()
    inside.post("/_emulator/faults", [STOCKOUT, {"on": "instances.*", "resource": "*/other-vm", "reply": UNAVAILABLE}])
    inside.vm()
    shown = inside.get("/_emulator/faults")
    assert shown["all_spent"] is False
    assert [rule["spent"] for rule in shown["faults"]] == [False, False]


def test_the_first_matches_can_be_let_pass():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.get", "skip": 1, "reply": UNAVAILABLE})
    inside.vm()
    assert inside.refused("GET", VM)[0] == 503


def test_a_stockout_ends_the_operation_and_leaves_the_vm_off():
    inside = Inside(latency=SOME_TIME)
    inside.post("/_emulator/faults", STOCKOUT)
    operation = inside.post(f"{VM}/start")
    assert operation["status"] == "RUNNING"
    inside.passes(10)
    failed = inside.operation(operation)
    assert (failed["httpErrorStatusCode"], failed["httpErrorMessage"]) == (503, "SERVICE UNAVAILABLE")
    assert failed["error"]["errors"][0]["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert inside.states() == ["PROVISIONING", "TERMINATED"]
    inside.post(f"{VM}/start")
    inside.passes(10)
    assert inside.status() == "RUNNING"


@pytest.mark.parametrize("verb", ["setLabels", "stop", "reset"])
def test_any_operation_can_be_made_to_fail(verb: str):
    inside = Inside()
    inside.post(f"{VM}/start")
    inside.post("/_emulator/faults", {"on": f"instances.{verb}", "operation_error": {"code": "INTERNAL_ERROR"}})
    body = {"labels": {}, "labelFingerprint": inside.vm()["labelFingerprint"]} if verb == "setLabels" else None
    operation = inside.operation(inside.post(f"{VM}/{verb}", body))
    assert operation["error"]["errors"][0]["code"] == "INTERNAL_ERROR"
    assert inside.status() == "RUNNING"


def test_secret_manager_and_the_metadata_server_have_faults_of_their_own_form():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "secrets.versions.access", "reply": {"status": 403, "message": "No."}})
    inside.post("/_emulator/faults", {"on": "metadata.get", "reply": {"status": 503}})
    access = "/v1/projects/demo/secrets/mayfly-agent-key/versions/latest:access"
    assert inside.refused("GET", access) == (403, "PERMISSION_DENIED", "No.")
    assert inside.inquire("instance/id").status == 503
    assert inside.inquire("instance/id").status == 200


def test_what_a_fault_did_is_in_the_history():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.get", "reply": UNAVAILABLE})
    inside.refused("GET", VM)
    kinds = [entry["kind"] for entry in inside.get("/_emulator/history")["entries"]]
    assert kinds == ["fault", "request"]


def test_faults_can_be_cleared():
    inside = Inside()
    inside.post("/_emulator/faults", {"times": None, "reply": UNAVAILABLE})
    assert inside.refused("GET", VM)[0] == 503
    inside.say("DELETE", "/_emulator/faults")
    assert inside.status() == "TERMINATED"


@pytest.mark.parametrize("rule", [[], [1], {}, {"on": "x"}, {"reply": {}}, {"reply": UNAVAILABLE, "typo": 1}])
def test_a_rule_that_is_none_is_refused(rule: Any):
    inside = Inside()
    if rule == []:
        assert inside.post("/_emulator/faults", rule) == {"faults": []}
        return
    assert inside.refused("POST", "/_emulator/faults", rule)[0] == 400
