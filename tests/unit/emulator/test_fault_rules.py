"""The grammar of faults: what is no rule is refused with a word on how to mend it."""

from typing import Any

import pytest

from gcp_emulator.fault_kinds import KINDS
from tests.unit.emulator.inside import VM, Inside

WRONG: list[tuple[Any, str]] = [
    (1, "a fault is an object"),
    ({}, "exactly one of reply, rate_limit"),
    ({"on": "instances.get"}, "exactly one of"),
    ({"preemt": {}}, "did you mean preempt?"),
    ({"reply": {"status": 503}, "preempt": {}}, "exactly one of"),
    ({"reply": {}}, "missing 1 required positional argument: 'status'"),
    ({"reply": {"status": "503"}}, "reply.status is a int, not '503'"),
    ({"reply": {"status": True}}, "reply.status is a int, not True"),
    ({"reply": {"status": 503, "resaon": "x"}}, "reply has no resaon; it has status, reason, message"),
    ({"lose_reply": None}, "lose_reply is an object such as {}"),
    ({"on": "instance.start", "lose_reply": {}}, "there are instances.start"),
    ({"on": "instances.list", "stale": {"seconds": 5}}, "for instances.get, addresses.get only"),
    ({"times": 0, "lose_reply": {}}, "times is at least 1"),
    ({"skip": -1, "lose_reply": {}}, "skip cannot be negative"),
    ({"late": {"seconds": 1, "effect": "never"}}, "late.effect is one of at_once, at_the_end"),
    ({"lose_reply": {}, "after": 3}, "lose_reply has no after; beside it there may be on, resource"),
    ({"preempt": {}, "times": 2}, "preempt without `on` has no times; beside it there may be vm, after"),
    ({"boot_failure": {}, "on": "instances.start"}, "boot_failure has no on"),
    ({"kill": {}}, "a service or matching, one of the two"),
    ({"kill": {"matching": "("}}, "kill.matching is a regular expression"),
]


@pytest.mark.parametrize(("rule", "words"), WRONG, ids=str)
def test_a_rule_that_is_none_is_refused_with_a_word_on_why(rule: Any, words: str):
    inside = Inside()
    status, _, message = inside.refused("POST", "/_emulator/faults", rule)
    assert status == 400
    assert words in message
    assert inside.get("/_emulator/faults")["faults"] == []


def test_of_a_list_with_one_bad_rule_none_is_taken_in():
    inside = Inside()
    assert inside.refused("POST", "/_emulator/faults", [{"lose_reply": {}}, {"typo": {}}])[0] == 400
    assert inside.get("/_emulator/faults")["faults"] == []


def test_a_rule_may_name_several_verbs():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "addresses.get|instances.get", "reply": {"status": 503}})
    assert inside.refused("GET", VM)[0] == 503


def test_a_rule_that_lasts_meets_everything_for_that_long_and_counts_as_once():
    inside = Inside()
    inside.post("/_emulator/faults", {"on": "instances.get", "for_seconds": 5, "reply": {"status": 503}})
    assert inside.refused("GET", VM)[0] == 503
    inside.passes(4)
    assert inside.refused("GET", VM)[0] == 503
    inside.passes(1)
    assert inside.status() == "TERMINATED"
    [rule] = inside.get("/_emulator/faults")["faults"]
    assert (rule["fired"], rule["spent"]) == (1, True)


def test_every_kind_shows_itself_as_it_was_given():
    given = {"reply": {"status": 503}, "stale": {"seconds": 1}, "late": {"seconds": 1}, "partition": {"seconds": 1}}
    given |= {"operation_error": {"code": "X"}, "kill": {"service": "a"}, "write_metadata": {"key": "a"}}
    inside = Inside()
    for name in KINDS:
        [shown] = inside.post("/_emulator/faults", {name: given.get(name, {})})["faults"]
        assert shown[name].items() >= given.get(name, {}).items()


def test_an_event_that_cannot_happen_stays_unspent_and_says_why():
    inside = Inside()
    inside.post("/_emulator/faults", {"guest_crash": {}})
    inside.post("/_emulator/faults", {"vm": "no-such-vm", "host_error": {}})
    shown = inside.get("/_emulator/faults")
    assert shown["all_spent"] is False
    assert [rule["missed"] for rule in shown["faults"]] == [
        ["gpu-vm has no guest that runs"],
        ["0 instances match vm 'no-such-vm': it needs exactly one"],
    ]


def test_a_rule_that_was_cleared_away_does_not_happen_later():
    inside = Inside()
    inside.post(f"{VM}/start")
    inside.post("/_emulator/faults", {"after": 5, "host_error": {}})
    inside.say("DELETE", "/_emulator/faults")
    inside.passes(10)
    assert inside.status() == "RUNNING"
